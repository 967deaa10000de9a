"""What a guest's devices may be called: the patterns that the formats hold to, and the values of a recipe.

Facts: xl-disk-configuration(5), xl-network-configuration(5), xen-vbd-interface(7).
"""

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from imagekit.recipe.values import text_schema

# PV drivers know xvd* everywhere; hd* and sd* mean nothing to a PV or PVH guest.
VDEV = r"xvd[a-z]{1,2}([1-9][0-9]?)?"
VDEV_WORDS = "xvda, xvdb, … or a partition such as xvda1"
# Unicast, as a guest's own address has to be: the lowest bit of the first byte is clear.
MAC = r"[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}"
MAC_WORDS = "six pairs such as 00:16:3e:12:34:56, of one host, not a group"
# Open vSwitch's script takes BRIDGE.VLAN and BRIDGE:TRUNK:TRUNK.
BRIDGE = r"[A-Za-z0-9_][A-Za-z0-9_.:-]*"
BRIDGE_WORDS = "the name of a bridge, such as xenbr0"
SCRIPT = r"[A-Za-z0-9_/][A-Za-z0-9_./-]*"
SCRIPT_WORDS = "letters, digits and _ . / -"
# qubes-core-admin, qubes/vm/__init__.py, `validate_name`.
QUBE = r"[A-Za-z][A-Za-z0-9_.-]{0,30}"
QUBE_WORDS = "a letter, then letters, digits and . _ -, 31 characters at most"

# Characters that end lines or control terminals have no place in a configuration.
_ABSOLUTE = r"/[^\u0000-\u001f\u007f-\u009f]*"


def _matching(what: str, pattern: str, expected: str) -> AfterValidator:
    def checked(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"no {what}: expected {expected}")
        return value

    return AfterValidator(checked)


def _address(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("no address: expected one such as 192.0.2.7, without a mask") from None
    if "%" in value:
        raise ValueError("a scope is known to one machine only: leave it out")
    return value


_IP_SCHEMA = WithJsonSchema(
    {"anyOf": [{"type": "string", "format": "ipv4"}, {"type": "string", "format": "ipv6"}]}
)

Vdev = Annotated[str, _matching("virtual device", VDEV, VDEV_WORDS), text_schema(VDEV)]
"""A disk's name in the guest."""
Mac = Annotated[str, _matching("MAC address", MAC, MAC_WORDS), text_schema(MAC)]
"""An interface's own address."""
Bridge = Annotated[str, _matching("bridge", BRIDGE, BRIDGE_WORDS), text_schema(BRIDGE)]
"""A bridge of the host."""
Script = Annotated[str, _matching("network script", SCRIPT, SCRIPT_WORDS), text_schema(SCRIPT)]
"""A hotplug script of the host, bare or with its path."""
Address = Annotated[str, AfterValidator(_address), _IP_SCHEMA]
"""An IPv4 or IPv6 address."""
DiskPath = Annotated[
    str,
    _matching("path of a disk on the host", _ABSOLUTE, "one line that begins with /"),
    text_schema(_ABSOLUTE),
]
"""Where the host keeps a disk."""
QubeName = Annotated[str, _matching("name of a qube", QUBE, QUBE_WORDS), text_schema(QUBE)]
"""What a qube of Qubes OS may be called."""
NetVm = Annotated[str, _matching("qube", f"({QUBE})?", f'{QUBE_WORDS}, or ""'), text_schema(f"({QUBE})?")]
"""Where a qube's network comes from; "" is nowhere."""
