"""Where a host is, by the files that ssh reads."""

import getpass
from pathlib import Path

import paramiko
import pytest

from imagekit.errors import ImagekitError
from imagekit.publish.ssh.address import Address, address_of
from imagekit.publish.ssh.connection import connected
from tests.publish.ssh.conftest import Dom0

CONFIG = """
Host dom0 other
    HostName 192.0.2.7
    Port 2222
    User xen
    IdentityFile ~/.ssh/one
    IdentityFile /srv/two
    IdentitiesOnly yes
    UserKnownHostsFile ~/.ssh/known /srv/known
    GlobalKnownHostsFile none
Host behind
    ProxyJump dom0
    HostKeyAlias inner
Host wrong
    Port many
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(CONFIG)
    return tmp_path


def of(named: str, home: Path) -> Address:
    return address_of(named, {"HOME": str(home)})


def test_what_the_configuration_says(home: Path) -> None:
    found = of("dom0", home)
    assert (found.host, found.port, found.user, found.only_these_keys) == ("192.0.2.7", 2222, "xen", True)
    assert found.keys == (home / ".ssh/one", Path("/srv/two"))
    assert found.known_hosts == (home / ".ssh/known", Path("/srv/known"))
    assert found.entry == "[192.0.2.7]:2222"


def test_what_is_named_goes_before(home: Path) -> None:
    found = of("ssh://root@dom0:22", home)
    assert (found.host, found.port, found.user, found.entry) == ("192.0.2.7", 22, "root", "192.0.2.7")
    assert of("me@dom0", home).user == "me"


def test_a_host_that_no_file_names(home: Path) -> None:
    found = of("root@dom9.example", home)
    assert (found.host, found.port, found.user) == ("dom9.example", 22, "root")
    assert found.keys[0] == home / ".ssh/id_ed25519"
    assert home / ".ssh/known_hosts" in found.known_hosts


def test_ipv6(home: Path) -> None:
    assert of("ssh://root@[2001:db8::7]:2222", home).host == "2001:db8::7"
    assert of("root@2001:db8::7", home).host == "2001:db8::7"


def test_behind_another(home: Path) -> None:
    found = of("behind", home)
    assert (found.jump, found.entry) == ("dom0", "inner")


@pytest.mark.parametrize("named, words", [("wrong", "is no port"), ("ssh://dom0:99999", "names no host")])
def test_what_cannot_be_meant(home: Path, named: str, words: str) -> None:
    with pytest.raises(ImagekitError, match=words):
        of(named, home)


def test_a_configuration_that_cannot_be_read(home: Path) -> None:
    (home / ".ssh" / "config").write_text("Host x\n  Match what\n=\n")
    with pytest.raises(ImagekitError, match=r"SSH|cannot be read"):
        of("x", home)


def environment(dom0: Dom0) -> dict[str, str]:
    return {"HOME": str(dom0.folder.parent / "home")}


def more(dom0: Dom0, text: str) -> None:
    with (dom0.folder.parent / "home" / ".ssh" / "config").open("a") as config:
        config.write(text)


def test_a_host_behind_another(dom0: Dom0) -> None:
    more(
        dom0,
        f"Host inner\n    HostName localhost\n    Port {dom0.port}\n    User {getpass.getuser()}\n"
        "    ProxyJump dom0\n    HostKeyAlias dom0-inner\n"
        f"    IdentityFile {dom0.folder}/user_key\n    UserKnownHostsFile {dom0.folder}/known_inner\n",
    )
    key = (dom0.folder / "host_key.pub").read_text()
    (dom0.folder / "known_inner").write_text(f"dom0-inner {key}")
    with connected("inner", environment(dom0)) as host:
        assert host.run("echo $1", "it's").out == "it's\n"


def test_hashed_names_are_found(dom0: Dom0) -> None:
    name = paramiko.HostKeys.hash_host(f"[127.0.0.1]:{dom0.port}")
    key = (dom0.folder / "host_key.pub").read_text()
    (dom0.folder / "known_hosts").write_text(f"{name} {key}")
    with connected("dom0", environment(dom0)) as host:
        assert host.run("exit 3").status == 3


def test_loops_of_hosts_are_refused(dom0: Dom0) -> None:
    more(dom0, "Host loop\n    ProxyJump loop\n")
    with pytest.raises(ImagekitError, match="behind each other"), connected("loop", environment(dom0)):
        pass
