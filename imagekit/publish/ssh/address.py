"""Where a host is and how one signs in: as ssh(1) finds it out, from its own files.

ssh_config(5): Host, Match, HostName, Port, User, IdentityFile, IdentitiesOnly, UserKnownHostsFile,
GlobalKnownHostsFile, HostKeyAlias, ProxyJump and ProxyCommand are heeded, the others are not.
"""

import getpass
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import paramiko

from imagekit.errors import PublishError, UsageError

_KNOWN = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
_KNOWN_TO_ALL = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
PORT = 22
"""Of SSH."""


@dataclass(frozen=True)
class Address:
    """A host as it was named, and what the configuration makes of it. `alias` is its name in known_hosts."""

    named: str
    host: str
    port: int
    user: str
    keys: tuple[Path, ...]
    known_hosts: tuple[Path, ...]
    alias: str = ""
    only_these_keys: bool = False
    jump: str = ""
    command: str = ""

    @property
    def entry(self) -> str:
        """The name that known_hosts has it by."""
        name = self.alias or self.host
        return name if self.port == PORT or self.alias else f"[{name}]:{self.port}"


def address_of(named: str, environment: Mapping[str, str]) -> Address:
    """Return the address of [USER@]HOST or ssh://[USER@]HOST[:PORT]."""
    user, host, port = _split(named)
    home = Path(environment.get("HOME") or Path.home())
    found = _configured(host, home)
    said_port = str(port or found.get("port", PORT))
    if not said_port.isdigit():
        raise PublishError(f"{named}: {said_port!r} is no port", hint="look into ~/.ssh/config")
    keys = found.get("identityfile", ["~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"])
    known = _words(found, "userknownhostsfile", _KNOWN) + _words(found, "globalknownhostsfile", _KNOWN_TO_ALL)
    return Address(
        named=named,
        host=str(found.get("hostname", host)),
        port=int(said_port),
        user=user or str(found.get("user", "")) or getpass.getuser(),
        keys=tuple(_expanded(path, home) for path in keys),
        known_hosts=tuple(_expanded(path, home) for path in known),
        alias=str(found.get("hostkeyalias", "")),
        only_these_keys=found.get("identitiesonly") == "yes",
        jump=str(found.get("proxyjump", "")),
        command=str(found.get("proxycommand", "")),
    )


def _split(named: str) -> tuple[str, str, int | None]:
    if not named.startswith("ssh://"):
        user, _, host = named.rpartition("@")
        return user, host, None
    parts = urlsplit(named)
    try:
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{named} names no host", details=str(error)) from error
    return parts.username or "", parts.hostname or "", port


def _configured(host: str, home: Path) -> "paramiko.SSHConfigDict":
    config = paramiko.SSHConfig()
    for path in (home / ".ssh" / "config", Path("/etc/ssh/ssh_config")):
        try:
            with path.open() as file:
                config.parse(file)
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, paramiko.ConfigParseError) as error:
            raise PublishError(f"{path} cannot be read", details=str(error)) from error
    try:
        return config.lookup(host)
    except (paramiko.CouldNotCanonicalize, paramiko.ConfigParseError) as error:
        raise PublishError(f"the SSH configuration of {host} cannot be used", details=str(error)) from error


def _words(found: "paramiko.SSHConfigDict", name: str, default: tuple[str, ...]) -> list[str]:
    said = found.get(name)
    return [word for word in str(said).split() if word != "none"] if said else list(default)


def _expanded(path: str, home: Path) -> Path:
    return home / path[2:] if path.startswith("~/") else Path(path)
