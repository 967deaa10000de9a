"""What goes wrong on the way to a host: connections, keys, disks, kills. Nothing is left, or it goes on."""

import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.sparse import map_blocks
from tests.cli.conftest import SCRIPT, Cli
from tests.publish.ssh.conftest import SFTP, Build, Dom0, MakeDom0

MIB = 1 << 20
START = ("--start", "--watch", "1")


@pytest.fixture
def large(build: Build, tmp_path: Path) -> Path:
    """Return an image with 24 MiB of data."""
    (tmp_path / "data").write_bytes(random.Random(1).randbytes(24 * MIB))  # noqa: S311 -- data, no secret
    return build("app", f'root.files=[{{from="{tmp_path}/data", to="/data"}}]')


def arrived(dom0: Dom0) -> int:
    """Return the bytes on the host's disk."""
    return sum(path.stat().st_blocks * 512 for path in dom0.images.glob("*")) if dom0.images.exists() else 0


def when(condition: Callable[[], bool], act: Callable[[], object]) -> threading.Thread:
    """Do something as soon as a condition holds."""

    def wait() -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if condition():
                act()
                return
            time.sleep(0.002)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def the_image(dom0: Dom0) -> Path:
    (found,) = dom0.images.glob("*.raw")
    return found


def test_a_cut_connection_is_gone_on_with(cli: Cli, dom0: Dom0, large: Path) -> None:
    cutter = when(lambda: arrived(dom0) > 4 * MIB, dom0.cut)
    said = cli("publish", large, "--host", "dom0")
    cutter.join()
    assert said.code == 0, said.err
    assert "the connection broke; it goes on in a moment" in said.err
    assert map_blocks(the_image(dom0)) == map_blocks(large)
    assert len(dom0.files) == 2


def test_a_host_that_is_gone_keeps_what_it_has_and_the_next_run_goes_on(cli: Cli, dom0: Dom0, large: Path) -> None:
    stopper = when(lambda: arrived(dom0) > 4 * MIB, dom0.stop)
    said = cli("publish", large, "--host", "dom0")
    stopper.join()
    assert (said.code, said.out) == (5, "")
    assert "left on the host" in said.err
    assert "Traceback" not in said.err
    assert [name.endswith(".raw.part") for name in dom0.files] == [True]
    dom0.start()
    again = cli("publish", large, "--host", "dom0")
    assert again.code == 0, again.err
    assert map_blocks(the_image(dom0)) == map_blocks(large)
    assert len(dom0.files) == 2


@pytest.mark.parametrize("number", [1, 9, 15, *(pytest.param(at, marks=pytest.mark.long) for at in range(2, 22))])
def test_kill_9_and_again(cli: Cli, dom0: Dom0, build: Build, tmp_path: Path, number: int) -> None:
    old = cli("publish", build(), "--host", "dom0", *START)
    assert old.code == 0, old.err
    before = len(dom0.calls)
    out = cli(
        "build", "app.xen", "-o", "new.raw", "-q", "--set", f'disk.path="{dom0.images}/x"', "--memory", "96MiB"
    )
    assert out.code == 0, out.err
    argv = [str(SCRIPT), "publish", "new.raw", "--host", "dom0", "--replace", "--watch", "1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        killer = when(
            lambda: len(dom0.calls) >= before + number or process.poll() is not None,
            process.kill,
        )
        process.wait()
        killer.join()
    again = cli("publish", "new.raw", "--host", "dom0", "--replace", "--watch", "1")
    assert again.code == 0, again.err
    assert dom0.names == ["app"]
    assert len(dom0.domains) == 1
    (domain,) = dom0.domains.values()
    assert "memory = 96" in domain["text"]
    assert map_blocks(the_image(dom0)) == map_blocks(Path("new.raw"))
    assert len(dom0.files) == 2


def test_destroyed_after_a_kill_the_old_one_comes_back(cli: Cli, dom0: Dom0, build: Build, tmp_path: Path) -> None:
    assert cli("publish", build("app", "memory='32MiB'"), "--host", "dom0", *START).code == 0
    before, files = dom0.domains, dom0.files
    build("app", "memory='64MiB'")
    argv = [str(SCRIPT), "publish", "app.raw", "--host", "dom0", "--replace", "--watch", "60"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        killer = when(lambda: "unpause 2" in dom0.calls, process.kill)
        process.wait()
        killer.join()
    assert len(dom0.domains) == 2
    pending = next(line.split()[0] for line in cli("receipts", "ls").out.splitlines() if " pending " in line)
    gone = cli("receipts", "destroy", pending)
    assert gone.code == 0, gone.err
    assert (dom0.domains, dom0.files) == (before, files)


def test_kill_9_while_it_is_sent(cli: Cli, dom0: Dom0, large: Path, tmp_path: Path) -> None:
    argv = [str(SCRIPT), "publish", str(large), "--host", "dom0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        killer = when(lambda: arrived(dom0) > 8 * MIB, process.kill)
        process.wait()
        killer.join()
    assert [name.endswith(".part") for name in dom0.files] == [True]
    said = cli("publish", large, "--host", "dom0")
    assert said.code == 0, said.err
    assert map_blocks(the_image(dom0)) == map_blocks(large)
    sent = float(said.err.split(" MiB sent")[0].rsplit(" ", 1)[1])
    assert 0 < sent < 24, "what had arrived is not sent again"


def test_interrupted(dom0: Dom0, large: Path, tmp_path: Path) -> None:
    argv = [str(SCRIPT), "publish", str(large), "--host", "dom0"]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, text=True
    ) as process:
        ender = when(lambda: arrived(dom0) > 4 * MIB, lambda: process.send_signal(signal.SIGINT))
        _, err = process.communicate(timeout=60)
        ender.join()
    assert process.returncode == 130, err
    assert "kept, to go on with" in err
    assert "Traceback" not in err


def test_interrupted_while_it_is_watched(cli: Cli, dom0: Dom0, build: Build, tmp_path: Path) -> None:
    assert cli("publish", build("app", "memory='32MiB'"), "--host", "dom0", *START).code == 0
    before = dom0.domains
    build("app", "memory='64MiB'")
    argv = [str(SCRIPT), "publish", "app.raw", "--host", "dom0", "--replace", "--watch", "60"]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, text=True
    ) as process:
        ender = when(lambda: "unpause 2" in dom0.calls, lambda: process.send_signal(signal.SIGINT))
        _, err = process.communicate(timeout=60)
        ender.join()
    assert process.returncode == 130, err
    assert dom0.domains == before, "the old one is back"


def test_a_host_without_room_is_told_before_anything_is_sent(cli: Cli, dom0: Dom0, large: Path) -> None:
    df = dom0.folder / "bin" / "df"
    df.write_text("#!/bin/sh\necho /dev/x 100 90 10 90% /\n")
    df.chmod(0o755)
    said = cli("publish", large, "--host", "dom0")
    assert (said.code, said.out) == (5, "")
    assert "has no room for the image" in said.err
    assert dom0.files == []


def test_a_disk_that_is_full_meanwhile(cli: Cli, make_dom0: MakeDom0, large: Path, tmp_path: Path) -> None:
    limited = tmp_path / "sftp"
    limited.write_text(f"#!/bin/sh\ntrap '' XFSZ\nulimit -f 16384\nexec {SFTP}\n")
    limited.chmod(0o755)
    dom0 = make_dom0(sftp=str(limited))
    said = cli("publish", large, "--host", "dom0")
    assert (said.code, said.out) == (5, ""), said.err
    assert "cannot be written" in said.err
    assert "removed again" in said.err
    assert dom0.files == []


def test_a_shell_that_talks(cli: Cli, dom0: Dom0, build: Build) -> None:
    (dom0.folder / ".bashrc").write_text("echo Welcome to dom0, have a nice day, it is a pleasure\n")
    said = cli("publish", build(), "--host", "dom0")
    assert said.code in {0, 5}, said.err  # root's shell may be one that reads another file
    assert "Traceback" not in said.err
    if said.code:
        assert "must print nothing" in said.err


def test_an_unknown_host_is_refused(cli: Cli, dom0: Dom0, build: Build) -> None:
    raw = build()
    known = dom0.folder / "known_hosts"
    content = known.read_text()
    known.write_text("")
    said = cli("publish", raw, "--host", "dom0")
    assert (said.code, said.out) == (5, "")
    assert "it could be anybody" in said.err
    shown = subprocess.run(
        ["/usr/bin/ssh-keygen", "-lf", dom0.folder / "host_key.pub"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    assert shown in said.err
    assert f"ssh-keyscan -p {dom0.port} 127.0.0.1 >> {known}" in said.err
    assert known.read_text() == "", "nothing is added by itself"
    assert dom0.files == []
    known.write_text(content)
    assert cli("publish", raw, "--host", "dom0").code == 0


def test_another_key_is_refused(cli: Cli, dom0: Dom0, build: Build) -> None:
    raw = build()
    other = (dom0.folder / "user_key.pub").read_text()
    (dom0.folder / "known_hosts").write_text(f"[127.0.0.1]:{dom0.port} {other}")
    said = cli("publish", raw, "--host", "dom0")
    assert (said.code, said.out) == (5, "")
    assert "is not who known_hosts says" in said.err
    assert f"ssh-keygen -R '[127.0.0.1]:{dom0.port}'" in said.err
    assert dom0.files == []


def test_a_user_who_is_not_let_in(cli: Cli, dom0: Dom0, build: Build) -> None:
    raw = build()
    (dom0.folder / "authorized_keys").write_text("")
    said = cli("publish", raw, "--host", "dom0")
    assert (said.code, said.out) == (5, "")
    assert "does not let" in said.err
    assert "ssh-add" in said.err


def test_a_host_that_does_not_answer(cli: Cli, dom0: Dom0, build: Build) -> None:
    raw = build()
    dom0.stop()
    said = cli("publish", raw, "--host", "dom0")
    assert (said.code, said.out) == (5, "")
    assert "dom0 cannot be reached" in said.err


@pytest.mark.parametrize("name", ["it's", '$(touch x)"`id`', "-rf", "a\\b c;d&e|f>g", "\N{SNOWMAN}*?[a]~"])
def test_hostile_folders(cli: Cli, dom0: Dom0, hello: Path, tmp_path: Path, name: str) -> None:
    folder = dom0.images / name
    path = f"{folder}/x.raw".replace("\\", "\\\\").replace('"', '\\"')
    assert cli("build", hello, "-o", "x.raw", "-q", "--set", f'disk.path="{path}"').code == 0
    said = cli("publish", "x.raw", "--host", "dom0", *START)
    assert said.code == 0, said.err
    assert len(list(folder.iterdir())) == 2
    gone = cli("receipts", "destroy", said.out.removesuffix("\n"))
    assert gone.code == 0, gone.err
    assert list(folder.iterdir()) == []
    assert not list(tmp_path.rglob("touch*"))
