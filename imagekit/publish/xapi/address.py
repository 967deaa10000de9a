"""Where a pool's host listens: a name or an address, and a port."""

import re
from dataclasses import dataclass

from imagekit.errors import UsageError

_PORT = 443
_NAMED = re.compile(r"(?:https://)?(?:\[(?P<six>[0-9a-fA-F:.%]+)\]|(?P<name>[^:/\[\]]+))(?::(?P<port>\d{1,5}))?/?")
_BARE_IPV6 = re.compile(r"[0-9a-fA-F]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*")


@dataclass(frozen=True, slots=True)
class Address:
    """A host as sockets want it: an IPv6 address has no brackets here."""

    host: str
    port: int = _PORT

    @property
    def authority(self) -> str:
        """The host as URLs and HTTP have it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORT else f"{host}:{self.port}"

    def another(self, host: str) -> "Address":
        """Return another host of the same pool, which xapi names without a port, and IPv6 without brackets."""
        return Address(host.strip("[]"), self.port)


def address_of(named: str) -> Address:
    """Return the address that a user names; UsageError for none."""
    if _BARE_IPV6.fullmatch(named):
        return Address(named)
    found = _NAMED.fullmatch(named)
    if found is None or not 0 < int(found["port"] or _PORT) < 1 << 16:
        raise UsageError(f"{named!r} is no host", hint="pool.example, 192.0.2.7 or [2001:db8::7]; :PORT behind it")
    return Address(found["six"] or found["name"], int(found["port"] or _PORT))
