"""Other programs, real ones: found, fed, timed, ended with us, and their failures told."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from imagekit import command, programs
from imagekit.command.children import bound
from imagekit.errors import ToolError


def script(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return folder / name


def until(true: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def alive(pid: int) -> bool:
    """Tell whether a process runs; a dead one that nobody waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


def test_what_a_program_said() -> None:
    done = command.run("sh", "-c", "cat; echo err >&2; exit 3", stdin=b"in\xff", ok=(0, 3))
    assert (done.status, done.stdout, done.stderr) == (3, b"in\xff", b"err\n")
    assert done.text() == "in\\xff"
    assert done.complaint() == "err"
    assert done.argv == (programs.require("sh"), "-c", "cat; echo err >&2; exit 3")


def test_a_complaint_is_the_end_of_stderr_or_of_stdout() -> None:
    assert command.run("sh", "-c", "echo out").complaint() == "out"
    assert command.run("sh", "-c", "echo 123456 >&2").complaint(3) == "456"


def test_a_failure_tells_status_and_words() -> None:
    with pytest.raises(ToolError, match=r"sh failed \(exit status 7\)") as caught:
        command.run("sh", "-c", "echo the reason >&2; exit 7")
    assert "sh -c" in caught.value.details
    assert caught.value.details.endswith("the reason")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("number, name", [(9, "SIGKILL"), (15, "SIGTERM"), (40, "signal 40")])
def test_a_killed_program(number: int, name: str) -> None:
    with pytest.raises(ToolError, match=rf"was killed by {name}\n"):
        command.run("sh", "-c", f"kill -{number} $$")


def test_a_missing_program_and_its_package() -> None:
    with pytest.raises(ToolError, match="imagekit-none is not installed") as caught:
        command.run("imagekit-none")
    assert caught.value.hint == "sudo apt-get install imagekit-none"
    assert programs.find("imagekit-none") is None


def test_the_folders_of_root_are_looked_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = programs.find("mke2fs")
    assert found is not None
    assert "sbin" in found
    monkeypatch.delenv("PATH")
    assert programs.find("sh") is not None


def test_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = script(tmp_path / "bin", "mke2fs", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(mine.parent), prepend=":")
    assert programs.require("mke2fs") == str(mine)


def test_programs_of_xen_are_found() -> None:
    assert programs.find("xen-init-dom0") in [
        str(path) for path in Path("/").glob("usr/lib/xen-*/bin/xen-init-dom0")
    ]


def test_what_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "bin", "broken", "#!/none/such\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ToolError, match="could not be started") as caught:
        command.run("broken")
    assert "No such file" in caught.value.details


def test_the_environment_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "tr_TR.UTF-8")
    monkeypatch.setenv("LANGUAGE", "tr")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("MKE2FS_CONFIG", "/none")
    lines = command.run("env", env={"EXTRA": "1"}, cwd=tmp_path).text().splitlines()
    assert {"LC_ALL=C.UTF-8", "TZ=UTC", "EXTRA=1"} <= set(lines)
    assert not [line for line in lines if line.startswith(("LANGUAGE=", "MKE2FS_CONFIG="))]


def test_time_that_runs_out(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(ToolError, match=r"did not end within 0\.2 s"):
        command.run("sh", "-c", f"sleep 60 & echo $! > {tmp_path}/pid; wait", timeout=0.2)
    assert time.monotonic() - begun < 10
    assert until(lambda: not alive(int((tmp_path / "pid").read_text())))


def test_time_that_runs_out_after_the_program_ended(tmp_path: Path) -> None:
    """Its own child still holds the pipes."""
    begun = time.monotonic()
    with pytest.raises(ToolError, match=r"did not end within 0\.5 s"):
        command.run("sh", "-c", f"sleep 60 & echo $! > {tmp_path}/pid", timeout=0.5)
    assert time.monotonic() - begun < 10
    assert until(lambda: not alive(int((tmp_path / "pid").read_text())))


def test_versions() -> None:
    for tool in ("mke2fs", "debugfs", "e2fsck", "mkfs.fat", "mcopy"):
        assert any(character.isdigit() for character in command.version(tool))
    assert command.version("mke2fs").startswith("mke2fs 1.")
    assert command.version("true") == command.version("true")


def test_a_version_that_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "bin", "shy", "#!/bin/sh\necho nothing; exit 1\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    assert command.version("shy") == "unknown"


PARENT = """
import signal, sys, threading
from imagekit import command, programs
from imagekit.command import children
from imagekit.command.children import bound
from imagekit.errors import ToolError
def stop(number, frame):
    command.stop_children()
    raise SystemExit(5)
signal.signal(signal.SIGTERM, stop)
try:
    command.run("sh", "-c", sys.argv[1])
finally:
    try:
        command.run("true")
    except ToolError as error:
        print(error, flush=True)
"""


def test_children_end_with_us(tmp_path: Path) -> None:
    """A Ctrl-C on the terminal does not reach them; we do."""
    os.mkfifo(tmp_path / "pipe")
    children = f"sleep 60 & echo $$ $! > {tmp_path}/pipe; wait"
    argv = [sys.executable, "-c", PARENT, children]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        pids = [int(pid) for pid in (tmp_path / "pipe").read_text().split()]
        assert {os.getpgid(pid) for pid in pids} == {pids[0]}
        parent.send_signal(signal.SIGTERM)
        stdout, stderr = parent.communicate(timeout=20)
    assert (parent.returncode, stderr) == (5, "")
    assert "was not started: imagekit is stopping" in stdout
    assert until(lambda: not any(map(alive, pids)))


MAIN_THREAD = """
import signal, threading
from imagekit import command, programs
from imagekit.command import children
def stop(number, frame):
    command.stop_children()
    raise SystemExit(5)
signal.signal(signal.SIGTERM, stop)
with children._children_lock:  # as in the middle of a start
    signal.raise_signal(signal.SIGTERM)
"""


def test_a_signal_in_the_middle_of_a_start_does_not_hang() -> None:
    done = subprocess.run([sys.executable, "-c", MAIN_THREAD], check=False, timeout=20)
    assert done.returncode == 5


def test_programs_at_once() -> None:
    results: list[bytes] = []

    def one(number: int) -> None:
        results.append(command.run("sh", "-c", f"sleep 0.05; echo {number}").stdout)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [b"%d\n" % number for number in range(8)]


def test_a_program_that_runs_beside_us_ends_with_its_with() -> None:
    with command.running("sleep", "60") as beside:
        pid = beside._child.pid  # noqa: SLF001 -- nobody else needs to know it
        assert beside.alive()
        assert until(lambda: beside.peak() > 100_000)
    assert not alive(pid)
    assert (beside.alive(), beside.peak()) == (False, 0)


def test_what_it_said_is_asked_at_its_end() -> None:
    with command.running("sh", "-c", "echo the reason >&2; printf '\\377' >&2; sleep 60 & wait") as beside:
        time.sleep(0.2)
        assert beside.complaint() == "the reason\n\\xff"
        assert not beside.alive()


def test_its_own_children_end_too(tmp_path: Path) -> None:
    with command.running(
        "sh", "-c", f"sleep 60 & echo $! > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; wait"
    ):
        assert until((tmp_path / "pid").exists)
        child = int((tmp_path / "pid").read_text())
    assert until(lambda: not alive(child))


def test_it_has_the_descriptors_that_it_was_given() -> None:
    read, write = os.pipe()
    with open(read, "rb") as reader:
        with command.running("sh", "-c", f"echo through >/proc/self/fd/{write}; sleep 60", descriptors=[write]):
            assert reader.readline() == b"through\n"
        os.close(write)
        assert reader.read() == b""


def test_what_cannot_run_beside_us() -> None:
    with pytest.raises(ToolError, match="imagekit-none is not installed"), command.running("imagekit-none"):
        pytest.fail("it runs")


HOLDER = """
import time
from imagekit import command, programs
from imagekit.command import children
with command.running("sleep", "60") as beside:
    print(beside._child.pid, flush=True)
    time.sleep(60)
"""


def test_what_runs_beside_us_does_not_outlive_a_kill() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        pid = int(holder.stdout.readline())
        # Before that it is setpriv, which may not have asked for its end yet.
        assert until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
        holder.kill()
        holder.wait()
        assert until(lambda: not alive(pid))


def test_what_is_followed_is_told_while_it_runs(tmp_path: Path) -> None:
    told: list[tuple[str, bool]] = []
    script = "echo one; echo two >&2; read line || printf 'no\\377'; touch end"
    log = tmp_path / "log"
    command.follow(
        "sh",
        *("-c", f"cd {tmp_path}; {script}"),
        line=lambda text: told.append((text, (tmp_path / "end").exists())),
        log=log,
    )
    assert [text for text, _ in told] == ["one\n", "two\n", "no\\xff"]
    assert log.read_bytes() == b"one\ntwo\nno\xff"


def test_what_is_followed_and_fails(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"sh failed \(exit status 3\)"):
        command.follow("sh", "-c", "echo said; exit 3", line=print, log=tmp_path / "log")
    assert (tmp_path / "log").read_text() == "said\n"
    with pytest.raises(ToolError, match="was killed by SIGKILL"):
        command.follow("sh", "-c", "kill -9 $$", line=print, log=tmp_path / "log")


def test_what_is_followed_for_too_long(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"sh did not end within 0\.3 s"):
        command.follow(
            "sh", "-c", "while :; do echo x; sleep 0.1; done", line=print, log=tmp_path / "log", timeout=0.3
        )
    with pytest.raises(ToolError, match=r"sh did not end within 0\.2 s"):
        command.follow("sh", "-c", "exec >&- 2>&-; sleep 60", line=print, log=tmp_path / "log", timeout=0.2)


def test_what_is_fed_is_never_all_in_memory() -> None:
    def feed(pipe: IO[bytes]) -> None:
        for _ in range(64):
            pipe.write(bytes(1 << 20))

    assert command.run("wc", "-c", stdin=feed).text() == f"{64 << 20}\n"


def test_a_feeder_that_fails_ends_the_program() -> None:
    def feed(pipe: IO[bytes]) -> None:
        pipe.write(b"begun")
        raise ToolError("the tree changed")

    begun = time.monotonic()
    with pytest.raises(ToolError, match="the tree changed"):
        command.run("sh", "-c", "cat >/dev/null; sleep 60", stdin=feed)
    assert time.monotonic() - begun < 30


def test_a_program_that_listens_no_more_tells_why() -> None:
    def feed(pipe: IO[bytes]) -> None:
        while True:
            pipe.write(bytes(1 << 20))

    with pytest.raises(ToolError, match=r"sh failed \(exit status 3\)"):
        command.run("sh", "-c", "exit 3", stdin=feed)
    with pytest.raises(ToolError, match=r"did not end within 0\.5 s"):
        command.run("sleep", "60", stdin=feed, timeout=0.5)


def test_a_program_bound_to_one_who_is_gone_does_not_begin(tmp_path: Path) -> None:
    """It is killed with who starts it; who was killed before it asked for that is no longer its parent."""
    argv = bound("KILL", "touch", tmp_path / "begun")
    orphan = ["0" if word == str(os.getpid()) else word for word in argv]
    assert subprocess.run(orphan, check=False).returncode == 1
    assert not (tmp_path / "begun").exists()
    subprocess.run(argv, check=True)
    assert (tmp_path / "begun").exists()
