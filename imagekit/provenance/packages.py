"""Packages of an operating system, as its own databases list them: dpkg's and apk's.

dpkg: var/lib/dpkg/status, stanzas of `Field: value` lines, one blank line between them (deb-control(5)). apk:
lib/apk/db/installed, stanzas of `X:value` lines (apk-package(5)). Both are hostile until read:
what cannot be is left out.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imagekit.errors import VerificationError

MOST = 50_000
"""Packages that a system may have: Debian itself has 70,000 in all."""

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._@~-]*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.:~_-]*")


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One package: what installed it (`deb`, `apk`), its name, version and architecture, and its source's name."""

    kind: str
    name: str
    version: str
    architecture: str
    source: str = ""
    license: str = ""


def read_dpkg(data: bytes) -> list[Package]:
    """Return the packages that are installed, in order; those that are removed, or half there, are not."""
    found = []
    for stanza in _stanzas(data):
        if stanza.get("Status", "").split()[-1:] != ["installed"]:
            continue
        source = stanza.get("Source", "").partition(" ")[0]
        found.append(
            Package(
                "deb", stanza.get("Package", ""), stanza.get("Version", ""), stanza.get("Architecture", ""), source
            )
        )
    return _sound(found)


def read_apk(data: bytes) -> list[Package]:
    """Return the packages of apk's database, in order."""
    found = [
        Package("apk", one.get("P", ""), one.get("V", ""), one.get("A", ""), one.get("o", ""), one.get("L", ""))
        for one in _stanzas(data)
    ]
    return _sound(found)


def read_os_release(data: bytes) -> Mapping[str, str]:
    """Return the variables of etc/os-release (os-release(5)), without their quotes."""
    lines = (line.partition("=") for line in data.decode(errors="replace").splitlines())
    return {name.strip(): value.strip().strip("\"'") for name, equals, value in lines if equals and name.strip()}


def _stanzas(data: bytes) -> Iterator[dict[str, str]]:
    """Yield each stanza's fields; of a field that goes on for lines, the first line."""
    fields: dict[str, str] = {}
    count = 0
    for line in (*data.decode(errors="replace").split("\n"), ""):
        if line.strip():
            name, found, value = line.partition(":")
            if found and not line[0].isspace():
                fields.setdefault(name, value.strip())
        elif fields:
            count += 1
            if count > MOST:
                raise VerificationError(f"a tree's package database lists more than {MOST} packages")
            yield fields
            fields = {}


def _sound(packages: list[Package]) -> list[Package]:
    """Return the packages that can be named, each once, in order."""
    known = {
        one
        for one in packages
        if _PLAIN.fullmatch(one.name) and _VERSION.fullmatch(one.version) and _PLAIN.fullmatch(one.architecture)
    }
    return sorted(known)
