"""A Xen host: a real sshd on a loopback port, with keys, files and an xl of its own; and an image for it."""

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from imagekit.command import run
from tests.cli.conftest import Cli, cli, hello

__all__ = ["cli", "hello"]
SFTP = "/usr/lib/openssh/sftp-server"
HERE = Path(__file__).parent
SSHD = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
Subsystem sftp {sftp}
SetEnv HOME={folder} PATH={folder}/bin:/usr/bin:/bin XL_STATE={folder}/xl XEN_LOG_DIR={folder}/log {more}
"""
CLIENT = """
Host dom0
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {folder}/user_key
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile none
"""


@dataclass
class Dom0:
    """A host: what lies on it, what runs on it."""

    folder: Path
    port: int
    images: Path
    more: str = ""
    sftp: str = SFTP
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self) -> None:
        """Start sshd, and wait until it answers."""
        config = self.folder / "sshd_config"
        config.write_text(SSHD.format(port=self.port, folder=self.folder, sftp=self.sftp, more=self.more))
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/bin") or "sshd"
        with (self.folder / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen([sshd, "-D", "-e", "-f", config], stderr=log, process_group=0)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, (self.folder / "sshd.log").read_text()
            time.sleep(0.02)
        raise AssertionError("sshd does not answer")

    def stop(self) -> None:
        """Stop sshd and all that runs below it: connections break."""
        if self.process is not None and self.process.poll() is None:
            self.cut()
            self.process.kill()
            self.process.wait()

    def cut(self) -> None:
        """Break the connections that there are."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in map(int, children):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def domains(self) -> dict[str, Any]:
        """The domains, by id."""
        path = self.folder / "xl" / "domains.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    @property
    def names(self) -> list[str]:
        """The names of the domains that run."""
        return sorted(one["name"] for one in self.domains.values() if not one["paused"])

    @property
    def calls(self) -> list[str]:
        """What xl was called with."""
        path = self.folder / "xl" / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def files(self) -> list[str]:
        """The names of the files in the folder of images."""
        return sorted(path.name for path in self.images.iterdir()) if self.images.exists() else []

    def behave(self, **domains: dict[str, object]) -> None:
        """Say what domains of these names do."""
        (self.folder / "xl" / "behaviour.json").write_text(json.dumps(domains))


MakeDom0 = Callable[..., Dom0]


def _key(path: Path) -> str:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
    return path.with_suffix(".pub").read_text()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def make_dom0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeDom0]:
    """Return a function that makes a host, which ~/.ssh/config knows as `dom0`: make_dom0(environment of sshd)."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd locks itself up
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("IMAGEKIT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with ExitStack() as stack:

        def make(more: str = "", sftp: str = SFTP) -> Dom0:
            folder = tmp_path / "dom0"
            for name in ("bin", "xl", "log"):
                (folder / name).mkdir(parents=True)
            script = folder / "bin" / "xl"
            script.write_text(f"#!{sys.executable} -S\n{(HERE / 'xl.py').read_text()}")
            script.chmod(0o755)
            made = Dom0(folder, _free_port(), folder / "images", more, sftp)
            public = _key(folder / "host_key")
            (folder / "authorized_keys").write_text(_key(folder / "user_key"))
            (folder / "known_hosts").write_text(f"[127.0.0.1]:{made.port} {public}")
            user = getpass.getuser()
            (home / ".ssh" / "config").write_text(CLIENT.format(port=made.port, user=user, folder=folder))
            made.start()
            stack.callback(made.stop)
            return made

        yield make


@pytest.fixture
def dom0(make_dom0: MakeDom0) -> Dom0:
    """Return a host that is up."""
    return make_dom0()


Build = Callable[..., Path]


@pytest.fixture
def build(cli: Cli, hello: Path, tmp_path: Path) -> Build:
    """Return a function that builds NAME.raw for the host's folder of images: build(name, "key=value"…)."""

    def made(name: str = "app", *sets: str, target: str = "xen") -> Path:
        folder = tmp_path / "dom0" / "images"
        out = Path(f"{name}.raw")
        more = [argument for setting in sets for argument in ("--set", setting)]
        path = f'disk.path="{folder}/{name}.xen.raw"'
        said = cli("build", hello, "-t", target, "-o", out, "-q", "--set", f'name="{name}"', "--set", path, *more)
        assert said.code == 0, said.err
        return out

    return made
