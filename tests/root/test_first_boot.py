"""The name and the keys that a system gets, and what it must not share with others of the same image."""

import json
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest

from imagekit.command import run
from tests.cli.conftest import Cli, cli, script
from tests.root.conftest import entry, tar_bytes

__all__ = ["cli", "script"]

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPfp6sXYzNdDJNpGlgMEZXc0V3PCzt4TzrG1wIcFU3eh me@here"
PASSWD = b"root:x:0:0::/root:/bin/sh\nme:x:1000:1001::/home/me:/bin/sh\nbad:x:y:1::/b:\n"


def system(tmp_path: Path, kernels: Path, *more: tuple[tarfile.TarInfo, bytes] | tarfile.TarInfo) -> None:
    kernel = (kernels / "hello.xen").read_bytes()
    data = tar_bytes((entry("boot/vmlinuz-6.1"), kernel), (entry("etc/passwd"), PASSWD), *more)
    (tmp_path / "system.tar").write_bytes(data)


def built(cli: Cli, tmp_path: Path, root: str = "") -> Path:
    (tmp_path / "os.toml").write_text(f'[root]\nfrom = "system.tar"\n{root}')
    said = cli("build", tmp_path / "os.toml", "-q", "-o", "a.raw")
    assert said.code == 0, said.err
    assert cli("verify", "a.raw").code == 0
    return tmp_path / "a.raw"


def refused(cli: Cli, tmp_path: Path, root: str) -> str:
    (tmp_path / "os.toml").write_text(f'[root]\nfrom = "system.tar"\n{root}')
    said = cli("build", tmp_path / "os.toml", "-q", "-o", "a.raw")
    assert (said.code, (tmp_path / "a.raw").exists()) == (2, False), said.err
    return said.err


def listed(image: Path, folder: str) -> dict[str, str]:
    """Return name -> "mode uid gid" of a folder in the image."""
    lines = [
        line.split("/") for line in run("debugfs", "-R", f"ls -p {folder}", image).text().splitlines() if line
    ]
    return {line[5]: " ".join(line[2:5]) for line in lines if line[5] not in {"", ".", ".."}}


def read(image: Path, path: str) -> str:
    return run("debugfs", "-R", f"cat {path}", image).text()


def test_a_name(cli: Cli, kernels: Path, tmp_path: Path) -> None:
    system(tmp_path, kernels, (entry("etc/hosts"), b"127.0.0.1 localhost\n127.0.1.1 builder # old\n10.0.0.1 x\n"),
           entry("etc/hostname", tarfile.SYMTYPE, linkname="../../../../etc/shadow"))  # fmt: skip
    image = built(cli, tmp_path, 'hostname = "web-1.example.org"\n')
    assert read(image, "/etc/hostname") == "web-1.example.org\n"
    assert read(image, "/etc/hosts") == "127.0.0.1 localhost\n10.0.0.1 x\n127.0.1.1 web-1.example.org web-1\n"


def test_a_name_where_there_are_no_hosts(cli: Cli, kernels: Path, tmp_path: Path) -> None:
    system(tmp_path, kernels)
    image = built(cli, tmp_path, 'hostname = "web"\n')
    assert read(image, "/etc/hosts").splitlines()[0] == "127.0.0.1 localhost"
    assert read(image, "/etc/hosts").splitlines()[-1] == "127.0.1.1 web"
    other = built(cli, tmp_path, 'hostname = "web2"\n')
    assert read(other, "/etc/hostname") == "web2\n"


def test_keys(cli: Cli, kernels: Path, tmp_path: Path) -> None:
    home = entry("home/me/", tarfile.DIRTYPE, mode=0o750, uid=1000, gid=1001)
    system(tmp_path, kernels, home)
    (tmp_path / "id.pub").write_text(f"{KEY}\n")
    other = KEY.replace("me@here", "other")
    keys = f'ssh = [{{ keys = ["{KEY}", "{other}"] }}, {{ user = "me", keys = ["id.pub"] }}]\n'
    image = built(cli, tmp_path, keys)
    assert read(image, "/root/.ssh/authorized_keys") == f"{KEY}\n{other}\n"
    assert read(image, "/home/me/.ssh/authorized_keys") == f"{KEY}\n"
    assert listed(image, "/root")[".ssh"] == "040700 0 0"
    assert listed(image, "/root/.ssh") == {"authorized_keys": "100600 0 0"}
    assert listed(image, "/home")["me"] == "040750 1000 1001"
    assert listed(image, "/home/me") == {".ssh": "040700 1000 1001"}
    assert listed(image, "/home/me/.ssh") == {"authorized_keys": "100600 1000 1001"}
    (tmp_path / "id.pub").write_text(f"{other}\n")
    assert read(built(cli, tmp_path, keys), "/home/me/.ssh/authorized_keys") == f"{other}\n"


def test_a_key_s_file_by_a_relative_recipe(cli: Cli, kernels: Path, tmp_path: Path) -> None:
    system(tmp_path, kernels)
    (tmp_path / "id.pub").write_text(KEY)
    (tmp_path / "os.toml").write_text('[root]\nfrom = "system.tar"\nssh = [{ keys = ["id.pub"] }]\n')
    said = cli("build", "os.toml", "-q", "-o", "a.raw")
    assert said.code == 0, said.err
    assert read(tmp_path / "a.raw", "/root/.ssh/authorized_keys") == f"{KEY}\n"


ENVELOPE = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ"


@pytest.mark.parametrize(
    "text,words",
    [
        (
            f"-----BEGIN OPENSSH PRIVATE KEY-----\n{ENVELOPE}\n-----END OPENSSH PRIVATE KEY-----\n",
            "is a private key",
        ),
        (f"-----BEGIN RSA PRIVATE KEY-----\n{ENVELOPE}\n", "is a private key"),
        (ENVELOPE, "no public key"),
        ("", "no public key"),
        (f"{KEY}\n{KEY}\n", "no public key"),
        (KEY.replace("ed25519", "rsa"), "no public key"),
        (KEY.replace("AAAAC3", "!AAAC3"), "no public key"),
    ],
)
def test_keys_that_are_none(text: str, words: str, cli: Cli, kernels: Path, tmp_path: Path) -> None:
    system(tmp_path, kernels)
    (tmp_path / "id").write_text(text)
    said = refused(cli, tmp_path, 'ssh = [{ keys = ["id"] }]\n')
    assert words in said
    assert "os.toml:3: root.ssh.0.keys.0" in said
    assert ENVELOPE not in said


def test_a_private_key_in_the_recipe(cli: Cli, kernels: Path, tmp_path: Path) -> None:
    system(tmp_path, kernels)
    key = f"-----BEGIN OPENSSH PRIVATE KEY-----\\n{ENVELOPE}\\n"
    said = refused(cli, tmp_path, f'ssh = [{{ keys = ["{KEY}", "{key}"] }}]\n')
    assert "os.toml:3: root.ssh.0.keys.1: is a private key" in said
    assert ENVELOPE not in said


def test_keys_for_nobody(cli: Cli, kernels: Path, tmp_path: Path) -> None:
    system(tmp_path, kernels)
    for user in ("you", "bad"):
        said = refused(cli, tmp_path, f'ssh = [{{ user = "{user}", keys = ["{KEY}"] }}]\n')
        assert f"has no user '{user}'" in said
    assert "cannot be read" in refused(cli, tmp_path, 'ssh = [{ keys = ["none.pub"] }]\n')


def test_a_home_that_leads_out(cli: Cli, kernels: Path, tmp_path: Path) -> None:
    system(tmp_path, kernels, entry("root", tarfile.SYMTYPE, linkname="/etc"))
    assert "below /root, which is no folder" in refused(cli, tmp_path, f'ssh = [{{ keys = ["{KEY}"] }}]\n')


def test_what_tells_machines_apart_goes(cli: Cli, kernels: Path, tmp_path: Path) -> None:
    system(
        tmp_path, kernels, (entry("etc/machine-id"), b"0123\n"), (entry("var/lib/dbus/machine-id"), b"0123\n"),
        (entry("etc/ssh/ssh_host_rsa_key"), b"secret"), (entry("etc/ssh/ssh_host_rsa_key.pub"), b"public"),
        (entry("etc/ssh/sshd_config"), b""),
    )  # fmt: skip
    image = built(cli, tmp_path)
    assert read(image, "/etc/machine-id") == ""
    assert listed(image, "/etc")["machine-id"] == "100444 0 0"
    assert listed(image, "/var/lib/dbus") == {}
    assert listed(image, "/etc/ssh") == {"sshd_config": "100644 0 0"}
    (tmp_path / "key").write_bytes(b"ours")  # a key that the recipe brings is wanted
    image = built(cli, tmp_path, 'files = [{ from = "key", to = "/etc/ssh/ssh_host_rsa_key", mode = "0600" }]\n')
    assert read(image, "/etc/ssh/ssh_host_rsa_key") == "ours"


def test_a_system_without_systemd_gets_no_machine_id(cli: Cli, kernels: Path, tmp_path: Path) -> None:
    system(tmp_path, kernels)
    assert "machine-id" not in listed(built(cli, tmp_path), "/etc")
    system(tmp_path, kernels, (entry("lib/systemd/systemd"), b""))
    assert "machine-id" in listed(built(cli, tmp_path), "/etc")


def test_owners_and_modes_of_files(cli: Cli, kernels: Path, tmp_path: Path) -> None:
    system(tmp_path, kernels)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "page").write_text("x")
    (tmp_path / "cgi").write_text("x")
    image = built(
        cli, tmp_path,
        'files = [{ from = "site", to = "/srv/www", owner = "33:34" },'
        ' { from = "cgi", to = "/usr/bin/cgi", owner = "0:34", mode = "2750" }]\n',
    )  # fmt: skip
    assert listed(image, "/srv/www") == {"page": "100644 33 34"}
    assert listed(image, "/usr/bin") == {"cgi": "102750 0 34"}
    assert "has modes of its own" in _cleared(cli, tmp_path, 'files = [{ from = "site", mode = "0600" }]\n')


def _cleared(cli: Cli, tmp_path: Path, root: str) -> str:
    (tmp_path / "a.raw").unlink()
    return refused(cli, tmp_path, root)


@pytest.fixture
def tree(tmp_path: Path, kernels: Path) -> Path:
    """A system in a folder."""
    tree = tmp_path / "tree"
    for name in ("boot", "etc", "dev"):
        (tree / name).mkdir(parents=True)
    shutil.copy(kernels / "hello.xen", tree / "boot" / "vmlinuz-6.1")
    (tree / "etc" / "shadow").write_text("x")
    (tree / "etc" / "shadow").chmod(0o600)
    (tree / "etc" / "su").write_text("x")
    (tree / "etc" / "su").chmod(0o4755)
    os.setxattr(tree / "etc" / "su", "user.note", b"\xff\0")
    os.mkfifo(tree / "etc" / "pipe", 0o640)
    (tree / "etc" / "link").symlink_to("/etc/none")
    (tree / "etc" / "twin").hardlink_to(tree / "etc" / "su")
    return tree


def built_of_folder(cli: Cli, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "os.toml").write_text('[root]\nfrom = "tree"\n')
    said = cli("build", tmp_path / "os.toml", "-q", "-o", "a.raw")
    assert said.code == 0, said.err
    assert cli("verify", "a.raw").code == 0
    return listed(tmp_path / "a.raw", "/etc")


def test_a_system_s_folder_keeps_modes(tree: Path, cli: Cli, tmp_path: Path) -> None:
    mine = f"{os.getuid()} {os.getgid()}"
    assert built_of_folder(cli, tmp_path) == {
        "shadow": f"100600 {mine}", "su": f"104755 {mine}", "twin": f"104755 {mine}", "pipe": f"010640 {mine}",
        "link": f"120777 {mine}",
    }  # fmt: skip
    assert "user.note (2) = ff 00" in run("debugfs", "-R", "ea_list /etc/su", tmp_path / "a.raw").text()
    (tree / "etc" / "shadow").chmod(0o640)
    assert built_of_folder(cli, tmp_path)["shadow"] == f"100640 {mine}"
    os.setxattr(tree / "etc" / "su", "user.note", b"other")
    built_of_folder(cli, tmp_path)
    assert "user.note (5)" in run("debugfs", "-R", "ea_list /etc/su", tmp_path / "a.raw").text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("name,mode", [("etc/shadow", 0o600), ("priv", 0o700)])
def test_what_of_a_system_s_folder_cannot_be_read(name: str, mode: int, script: Cli) -> None:
    folder = Path(tempfile.mkdtemp())  # where another user can go
    try:
        for below in ("own/etc", "own/priv"):
            (folder / below).mkdir(parents=True)
        (folder / "own" / "etc" / "shadow").write_text("root:!::\n")
        (folder / "own" / name).chmod(mode)
        (folder / "os.toml").write_text('[root]\nfrom = "own"\n')
        folder.chmod(0o777)
        before = (str(shutil.which("setpriv")), "--reuid=65534", "--clear-groups")
        environment = {"IMAGEKIT_CACHE_DIR": str(folder / "cache"), "HOME": str(folder)}
        said = script("build", folder / "os.toml", before=before, env=environment)
        assert (said.code, f"own/{name} cannot be read" in said.err) == (2, True), said.err
        assert "a system's folder wants root, or comes as a tar" in said.err
    finally:
        shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_system_s_folder_keeps_owners_and_devices(tree: Path, cli: Cli, tmp_path: Path) -> None:
    os.chown(tree / "etc" / "shadow", 0, 70042)
    os.mknod(tree / "dev" / "console", 0o600 | 0o020000, os.makedev(5, 1))
    assert built_of_folder(cli, tmp_path)["shadow"] == "100600 0 70042"
    assert "5:1" in run("debugfs", "-R", "stat /dev/console", tmp_path / "a.raw").text().replace("05:01", "5:1")
    os.chown(tree / "etc" / "shadow", 0, 42)
    assert built_of_folder(cli, tmp_path)["shadow"] == "100600 0 42"


def test_where_the_bytes_of_a_system_s_tar_lie(cli: Cli, kernels: Path, tmp_path: Path) -> None:
    """Read once: what the root step keeps is where they begin."""
    system(tmp_path, kernels, (entry("big"), bytes(range(256)) * 4096))
    built(cli, tmp_path)
    cache = Path(os.environ["IMAGEKIT_CACHE_DIR"])
    steps = [json.loads(path.read_bytes()) for path in (cache / "results").iterdir()]
    roots = [cache / "blobs" / step["digest"] for step in steps if step["step"] in {"tree", "root"}]
    assert len(roots) == 2
    assert all(path.stat().st_size < 1 << 16 for path in roots)
