"""`imagekit shell`: what it refuses, and a child that has our terminal. Sessions are in tests/filesystem."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.cli.conftest import Cli

# Opened by a session's leader, the terminal becomes the controlling one.
ATTACHED = """
import os
from imagekit.command import attached
os.close(os.open(os.ttyname(0), os.O_RDWR))
print('status', attached('sh', '-c', {!r}), flush=True)
"""


def test_what_is_no_image(cli: Cli) -> None:
    said = cli("shell", "none.raw")
    assert (said.code, said.err.splitlines()[0]) == (2, "error: none.raw is no file")


def test_only_raw_disks_are_written_to(cli: Cli, hello: Path) -> None:
    assert cli("build", hello, "-t", "xcp", "-q", "-o", "app.vhd").code == 0
    said = cli("shell", "--write", "app.vhd", "-c", "rm /boot/app.xen")
    assert said.code == 2
    assert "app.vhd is written to only when it is raw, and it is of the form vhd" in said.err


def test_guestfish_is_missing(script: Cli, hello: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    said = script("shell", hello, env={"PATH": str(tools)})
    if Path("/usr/sbin/guestfish").exists():  # pragma: no cover -- a merged sbin
        return
    assert said.code == 4
    assert "guestfish is not installed\nhint: sudo apt-get install guestfish" in said.err


def test_a_damaged_sidecar_is_told(cli: Cli, hello: Path, tmp_path: Path) -> None:
    assert cli("build", hello, "-q", "-o", "app.raw").code == 0
    (tmp_path / "app.raw.imagekit.json").write_text("{}")
    assert cli("shell", "app.raw", "-c", "ll /").code == 6


def attached(script: str, terminal: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", ATTACHED.format(script)],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_ctrl_c_is_the_childs(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    script = f"trap 'echo caught; exit 5' INT; touch {tmp_path}/ready; while :; do sleep 0.1; done"
    with attached(script, theirs) as process:
        wait_for(tmp_path / "ready")
        os.write(ours, b"\x03")
        out, err = process.communicate(timeout=20)
    assert (out, err) == ("caught\nstatus 5\n", "")


def test_a_killed_shell_takes_its_child_along(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with attached(f"echo $$ > {tmp_path}/pid; touch {tmp_path}/ready; exec sleep 600", theirs) as process:
        wait_for(tmp_path / "ready")
        child = int((tmp_path / "pid").read_text())
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
    end = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < end
        time.sleep(0.05)
    os.close(ours)


def wait_for(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
