"""root.run: commands see the tree and nothing else, leave what they made, and end whatever they do."""

import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagekit.command import run
from imagekit.root.run import has_range
from imagekit.store import Store
from tests.cli.conftest import SCRIPT, Cli, cli, script
from tests.root.conftest import EPOCH
from tests.root.system import make_system

__all__ = ["cli", "script"]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can do without user ids of its own"),
    pytest.mark.usefixtures("system"),
]


@pytest.fixture(scope="module")
def packed(kernels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tar of a small system, whose files carry an attribute and a capability."""
    folder = tmp_path_factory.mktemp("system")
    tree = make_system(folder / "tree", kernels / "hello.xen")
    os.setxattr(tree / "bin" / "id", "user.note", b"\xff\0kept")
    with tarfile.open(folder / "system.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(tree, ".", filter=_noted)
    return folder / "system.tar"


def _noted(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.mtime = EPOCH - 1000
    if info.name == "./bin/id":
        capability = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep
        info.pax_headers = {"SCHILY.xattr.security.capability": capability.decode("latin-1")}
    return info


@pytest.fixture
def system(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(packed, tmp_path / "system.tar"))


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """Look at the machine afterwards: no mounts, no work in the store."""
    yield
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert not list(_work(tmp_path))


def _work(tmp_path: Path) -> Iterator[Path]:
    store = os.environ.get("IMAGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    folder = Path(store) / "tmp"
    return folder.iterdir() if folder.is_dir() else iter(())


def recipe(tmp_path: Path, *commands: str, name: str = "os.toml") -> Path:
    """Write a recipe with these tables of [[root.run]]."""
    tables = "".join(f"[[root.run]]\n{command}\n" for command in commands)
    (tmp_path / name).write_text(f'[root]\nfrom = "system.tar"\n{tables}')
    return tmp_path / name


def stat(image: Path, path: str) -> str:
    """Return what debugfs tells of a file: type, mode, owner."""
    said = run("debugfs", "-R", f'stat "{path}"', image).text()
    found = re.search(r"Type: (\w+).*?Mode: +(\d+).*?User: +(\d+) +Group: +(\d+)", said, re.DOTALL)
    return " ".join(found.groups()) if found else "none"


def test_what_they_make_is_in_the_image(cli: Cli, tmp_path: Path) -> None:
    text = """run = '''
        touch /etc/a; chown 7:8 /etc/a; chmod 4755 /etc/a; ln /etc/a /hard; ln -s /etc/a /soft
        mknod /pipe p; mknod /etc/null c 1 3; rm /bin/touch; id >/etc/id
        mkdir -m 2770 /srv'''"""
    assert cli("build", recipe(tmp_path, text, 'run = ["/bin/mkdir", "/a b"]'), "-q", "-o", "a.raw").code == 0
    image = tmp_path / "a.raw"
    seen = {path: stat(image, path) for path in ("/etc/a", "/hard", "/soft", "/pipe", "/etc/null", "/srv", "/a b")}
    assert seen == {
        "/etc/a": "regular 04755 7 8", "/hard": "regular 04755 7 8", "/soft": "symlink 0777 0 0",
        "/pipe": "FIFO 0644 0 0", "/etc/null": "character 0644 0 0", "/srv": "directory 02770 0 0",
        "/a b": "directory 0755 0 0",
    }  # fmt: skip
    assert stat(image, "/bin/touch") == "none"
    assert run("debugfs", "-R", "cat /etc/id", image).text() == "uid=0(root) gid=0 groups=0\n"
    assert "=0100000200200000000000000000000000000000" in run(
        "debugfs", "-R", "ea_list /bin/id", image
    ).text().replace(" ", "")
    assert cli("verify", "a.raw").code == 0


def test_the_same_bytes_twice(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recipe(tmp_path, 'run = "echo $SOURCE_DATE_EPOCH >/etc/epoch; ln /bin/ls /bin/dir"')
    assert cli("build", path, "-q", "-o", "a.raw").code == 0
    assert "run: cached" in cli("build", path, "-o", "b.raw").err
    monkeypatch.setenv("IMAGEKIT_CACHE_DIR", str(tmp_path / "other"))
    assert "run: cached" in cli("build", path, "-o", "c.raw").err  # made when the kernel was looked for
    assert (tmp_path / "a.raw").read_bytes() == (tmp_path / "c.raw").read_bytes()


SIGHTS = [
    "test $$ = 1",
    "test ! -e /proc/2 || test ! -e /proc/99",
    'test "$(cat /proc/sys/kernel/hostname)" = localhost',
    'test "$(ls /dev | { i=0; while read x; do i=$((i+1)); done; echo $i; })" = 11',
    'test -z "$(cat)"',
    "test ! -e /.imagekit && test ! -e /usr/bin/python3",
    "test ! -e /proc/1/root/usr/bin/python3",
    'test "$HOME$LC_ALL$TZ$DEBIAN_FRONTEND" = /rootC.UTF-8UTCnoninteractive',
    'test -z "${PYTHONPATH-}${IMAGEKIT_CACHE_DIR-}${USER-}"'.replace("${", "$${"),
    "mknod /n c 1 5; ! cat /n",
    "mknod /dev/n c 1 5; ! cat /dev/n",
    "while read a b c; do case $a in *eth*) exit 1;; esac; done </proc/net/dev",
    "test ! -e /etc/resolv.conf",
    "echo x >/dev/null && cat /dev/null && test -c /dev/urandom && test -d /dev/shm",
]


def test_what_they_see(cli: Cli, tmp_path: Path) -> None:
    said = cli("build", recipe(tmp_path, *(f"run = '''{sight}'''" for sight in SIGHTS)), "-q", "-o", "a.raw")
    assert said.code == 0, said.err


def test_with_a_network(cli: Cli, tmp_path: Path) -> None:
    look = "cat /etc/resolv.conf >/etc/seen; cat /proc/net/dev >/etc/devices"
    path = recipe(tmp_path, f'run = "{look}"\nnetwork = true')
    assert cli("build", path, "-q", "-o", "a.raw").code == 0
    image = tmp_path / "a.raw"
    assert run("debugfs", "-R", "cat /etc/seen", image).stdout == Path("/etc/resolv.conf").read_bytes()
    ours = re.findall(r"(\S+):", Path("/proc/net/dev").read_text())
    assert re.findall(r"(\S+):", run("debugfs", "-R", "cat /etc/devices", image).text()) == ours
    assert stat(image, "/etc/resolv.conf") == "none"


def test_the_tree_s_own_resolv_conf_comes_back(cli: Cli, tmp_path: Path) -> None:
    path = recipe(
        tmp_path,
        'run = "ln -s /run/none /etc/resolv.conf"',
        'run = "echo changed >/etc/resolv.conf"\nnetwork = true',
    )
    before = Path("/etc/resolv.conf").read_bytes()
    assert cli("build", path, "-q", "-o", "a.raw").code == 0
    assert stat(tmp_path / "a.raw", "/etc/resolv.conf").startswith("symlink")
    assert Path("/etc/resolv.conf").read_bytes() == before


@pytest.mark.parametrize(
    "command,words",
    [
        (
            'run = "echo begun; echo bad >&2; exit 7"',
            ["command 1 of root.run failed (exit status 7)", "bad"],
        ),
        (
            'run = "echo Could not resolve host: example.org >&2; exit 6"',
            ["exit status 6", "it has no network unless network = true"],
        ),
        ('run = "id"\n[[root.run]]\nrun = "exit 9"', ["command 2 of root.run failed (exit status 9): exit 9"]),
        (
            'run = "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done"\ntimeout = 3',
            ["within 3 s", "yyyy"],
        ),
        ('run = "false-command"', ["exit status 127", "not found"]),
        ('run = ["/bin/none"]', ["exit status 127", "the tree has it not"]),
        ('run = ["/boot/vmlinuz-6.1"]', ["exit status 126", "of this machine's architecture?"]),
        ('run = "id\\nfalse\\ntouch /x"', ["exit status 1)", ": id…\n"]),
        ('run = "echo begun; (sleep 1000 &); sleep 1000"\ntimeout = 1', ["did not end within 1 s", "begun"]),
        ('run = "rm -r /proc /dev 2>/dev/null || kill -9 1; kill 1; exit 3"', ["exit status 3"]),
    ],
)
def test_one_that_fails(command: str, words: list[str], cli: Cli, tmp_path: Path) -> None:
    said = cli("build", recipe(tmp_path, command), "-o", "a.raw")
    assert said.code == 1, said.err
    assert not (tmp_path / "a.raw").exists()
    for word in words:
        assert word in said.err
    assert ("network = true" in said.err) == ("resolve" in command)


def test_what_they_say_is_in_a_log(cli: Cli, tmp_path: Path) -> None:
    path = recipe(tmp_path, 'run = "echo from one; id >&2"', 'run = """\necho and two\nfalse"""')
    said = cli("build", path, "-v")
    assert said.code == 1
    told = re.findall(r"^os: run: (.*) \(log: (.*)\)$", said.err, re.MULTILINE)
    log = Path(told[0][1])
    assert told == [("echo from one; id >&2", str(log)), ("echo and two…", str(log))]
    assert log.read_text() == "from one\nuid=0(root) gid=0 groups=0\nand two\n"
    assert f"the whole log: {log}" in said.err


def test_a_log_has_its_limits(cli: Cli, tmp_path: Path) -> None:
    twenty = "for i in 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0; do"
    text = f'run = "x=y; {twenty} x=$x$x; done; {twenty} echo $x; done; echo the end; exit 1"'
    said = cli("build", recipe(tmp_path, text))
    assert (said.code, "y\nthe end\n" in re.sub(r"\n +", "\n", said.err)) == (1, True), said.err[-500:]
    (log,) = re.findall("the whole log: (.*)", said.err)
    assert Path(log).stat().st_size == 16 << 20


def test_what_they_leave_running_ends(cli: Cli, tmp_path: Path) -> None:
    assert cli("build", recipe(tmp_path, 'run = "(sleep 987 &)"'), "-q", "-o", "a.raw").code == 0
    assert not _running("987")


def _running(word: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text().split("\0")
        except OSError:
            continue
        if word in words:
            found.append(path.parent.name)
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_kill_in_the_middle(number: signal.Signals, tmp_path: Path) -> None:
    path = recipe(tmp_path, 'run = "sleep 986; exit 9"')
    environment = {**os.environ, "IMAGEKIT_CACHE_DIR": str(tmp_path / "cache")}
    process = subprocess.Popen([SCRIPT, "build", path, "-q"], cwd=tmp_path, env=environment)
    _wait(lambda: bool(_running("986")))
    process.send_signal(number)
    process.wait()
    _wait(lambda: not _running("986"))
    with Store(tmp_path / "cache").in_use():  # what a killed build leaves is swept by the next one
        pass
    assert not list((tmp_path / "cache" / "tmp").iterdir())


def _wait(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_proc_that_is_a_link(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    run("tar", "-C", tmp_path / "t", "-xf", tmp_path / "system.tar")
    (tmp_path / "t" / "proc").rmdir()
    (tmp_path / "t" / "proc").symlink_to("/proc")
    with tarfile.open(tmp_path / "system.tar", "w") as tar:
        tar.add(tmp_path / "t", ".")
    said = cli("build", recipe(tmp_path, 'run = "id"'))
    assert (said.code, "/proc of the tree is no folder" in said.err) == (1, True), said.err


@pytest.mark.parametrize("path,words", [("/nowhere", "newuidmap is not installed"), (os.environ["PATH"], "")])
def test_who_cannot_is_told_before_anything_is_made(path: str, words: str, script: Cli, packed: Path) -> None:
    folder = Path(tempfile.mkdtemp())  # where another user can go
    try:
        shutil.copy(packed, folder / "system.tar")
        wanted = recipe(folder, 'run = "id"')
        folder.chmod(0o777)
        before = (str(shutil.which("setpriv")), "--reuid=65534", "--clear-groups")
        environment = {"PATH": path, "IMAGEKIT_CACHE_DIR": str(folder / "cache"), "HOME": str(folder)}
        said = script("build", wanted, "-o", folder / "a.raw", before=before, env=environment)
        assert (said.code, words in said.err) == (4, True), said.err
        assert "/etc/subuid has no line for you: sudo usermod --add-subuids 100000-165535 nobody" in said.err
        assert not (folder / "a.raw").exists()
        said = script("plan", wanted, before=before, env=environment)
        assert (said.code, "os: root.run: /etc/subgid has no line for you" in said.err) == (0, True), said.err
        assert "it cannot run here" in said.out
        assert not list((folder / "cache" / "blobs").iterdir())
    finally:
        shutil.rmtree(folder)


# In a mount namespace, nobody has user ids of its own; then what it is to start.
_WITH_IDS = """
echo nobody:200000:65536 >"$0/ids"
mount --bind "$0/ids" /etc/subuid
mount --bind "$0/ids" /etc/subgid
exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
"""


@pytest.mark.skipif(shutil.which("newuidmap") is None, reason="no uidmap")
def test_an_ordinary_user(script: Cli, cli: Cli, tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp())  # where another user can go
    try:
        shutil.copy(tmp_path / "system.tar", folder)
        text = 'run = "id -u >/etc/id; touch /etc/a; chown 7:8 /etc/a; chmod 4755 /etc/a"'
        path, environment = (
            recipe(folder, text),
            {"IMAGEKIT_CACHE_DIR": str(folder / "cache"), "HOME": str(folder)},
        )
        folder.chmod(0o777)
        before = ("unshare", "--mount", "sh", "-ec", _WITH_IDS, str(folder))
        said = script("build", path, "-q", "-o", folder / "a.raw", before=before, env=environment)
        assert said.code == 0, said.err
        assert (folder / "a.raw").stat().st_uid == 65534
        assert stat(folder / "a.raw", "/etc/a") == "regular 04755 7 8"
        assert cli("build", path, "-q", "-o", "b.raw").code == 0
        assert (folder / "a.raw").read_bytes() == (tmp_path / "b.raw").read_bytes()
        assert not list((folder / "cache" / "tmp").iterdir())
    finally:
        shutil.rmtree(folder)


def test_a_line_of_ids(tmp_path: Path) -> None:
    (tmp_path / "subuid").write_text("rootless:1:2\nroot:x\n")
    assert not has_range(tmp_path / "subuid")
    for line in ("root:100000:65536", "0:100000:65536"):
        (tmp_path / "subuid").write_text(f"rootless:1:2\n{line}\n")
        assert has_range(tmp_path / "subuid")
    assert not has_range(tmp_path / "none")


def test_a_plan_tells_that_they_run(cli: Cli, tmp_path: Path) -> None:
    said = cli("plan", recipe(tmp_path, 'run = "id"'))
    assert said.code == 0, said.err
    assert "os: its commands (root.run) have run, or were cached" in said.err
    assert said.out.splitlines()[0].split() == ["image", "step", "target", "state", "why"]


def test_without_a_system(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "os.toml").write_text('kernel = "k"\n[[root.run]]\nrun = "id"\n')
    said = cli("build", tmp_path / "os.toml")
    assert (said.code, "there is no system to do it to" in said.err) == (2, True), said.err
