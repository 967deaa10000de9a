"""Who logs in: from the environment, a file that only its owner reads, or a prompt; never from argv."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_IRWXG, S_IRWXO, S_ISREG

from imagekit.errors import UsageError
from imagekit.publish import Ask

_LARGEST = 1 << 16
_KEYS = ("username", "password")
_READ = (*_KEYS, "server")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and the password, which no text of this object shows."""

    user: str
    password: str = field(repr=False)


def credentials(
    user: str | None, file: Path | None, environment: Mapping[str, str], host: str, ask: Ask
) -> Credentials:
    """Return the credentials for a host; UsageError when there is no password.

    `file` has lines `username=…` and `password=…`, as xe's ~/.xe, which is read when no file is named
    and it names no other `server=`.
    """
    given = dict(zip(_KEYS, (user, environment.get("XAPI_PASSWORD")), strict=True))
    if given["username"] is None:
        given["username"] = environment.get("XAPI_USER")
    home = Path(environment.get("HOME", "/")) / ".xe"
    if None in given.values() and (file or home.exists()):
        found = _read(file or home)
        if file is None and found.get("server", host) not in {host, host.partition(":")[0]}:
            found = {}  # xe's own file is for that server
        given = {key: value or found.get(key) for key, value in given.items()}
    name = given["username"] or "root"
    password = given["password"] or ask(f"Password of {name} at {host}", secret=True)
    if not password:
        raise UsageError(
            f"no password for {name} at {host}",
            hint="XAPI_PASSWORD in the environment, or password=… in ~/.xe (mode 0600)",
        )
    return Credentials(name, password)


def _read(path: Path) -> dict[str, str]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            data = file.read(_LARGEST + 1) if S_ISREG(status.st_mode) else b""
    except OSError as error:
        raise UsageError(f"{path} cannot be read", details=error.strerror or "") from error
    if not S_ISREG(status.st_mode) or len(data) > _LARGEST:
        raise UsageError(f"{path} is no file of credentials")
    if status.st_mode & (S_IRWXG | S_IRWXO) or status.st_uid not in {os.geteuid(), 0}:
        raise UsageError(f"{path} can be read by others", hint=f"chmod 600 {path}")
    lines = (line.partition("=") for line in data.decode(errors="replace").splitlines())
    return {key.strip(): value.strip() for key, _, value in lines if key.strip() in _READ}
