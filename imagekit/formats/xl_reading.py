"""A domain read back from the xl.cfg that `imagekit.formats.xl` wrote, to be written for another place.

This reads our own writing, not xl.cfg(5): one setting a line, lists of one item a line. VerificationError for
anything else, a hand's change included; `imagekit.verify` reads what others write, by Xen's own parser.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, cast

from imagekit.errors import RecipeError, VerificationError
from imagekit.formats.domain import Disk, Domain, Vif
from imagekit.formats.xl import xl_cfg

_Value: TypeAlias = "str | int | tuple[str, ...]"

_SETTING = re.compile(r"([a-z_]+) = (?:([0-9]+)|\"((?:[^\"\\]|\\[\"\\])*)\"|(\[))")
_ITEM = re.compile(r" {4}\"((?:[^\"\\]|\\[\"\\])*)\",")
_DISK = re.compile(r"format=([a-z0-9]+), vdev=([a-z0-9]+), access=(r[ow]), target=(.*)")
_TEXTS = ("kernel", "ramdisk", "cmdline", "bootloader", "uuid", "on_poweroff", "on_reboot", "on_crash")


def domain_of(text: str) -> Domain:
    """Return the domain that `xl_cfg` turns into this text."""
    try:
        found = dict(_settings(iter(text.removesuffix("\n").split("\n"))))
        domain = _domain(found)
    except (KeyError, ValueError, TypeError, RecipeError, StopIteration) as error:
        raise VerificationError("this is no xl.cfg that imagekit wrote", details=str(error)) from error
    if xl_cfg(domain) != text:
        raise VerificationError("this xl.cfg is not as imagekit wrote it", hint="build the image again")
    return domain


def _settings(lines: Iterator[str]) -> Iterator[tuple[str, _Value]]:
    for line in lines:
        if line.startswith("#"):
            continue
        match = _SETTING.fullmatch(line)
        if match is None:
            raise ValueError(line[:80])
        name, number, text, listed = match.groups()
        if listed:
            yield name, tuple(_items(lines))
        else:
            yield name, int(number) if number else _plain(text)


def _items(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if line == "]":
            return
        match = _ITEM.fullmatch(line)
        if match is None:
            raise ValueError(line[:80])
        yield _plain(match[1])
    raise ValueError("a list without an end")


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _domain(found: Mapping[str, _Value]) -> Domain:
    texts = {name: found[name] for name in _TEXTS if name in found}
    devices = {
        "disks": tuple(_disk(one) for one in cast("tuple[str, ...]", found.get("disk", ()))),
        "vifs": tuple(_vif(one) for one in cast("tuple[str, ...]", found.get("vif", ()))),
    }
    return Domain(
        name=cast("str", found["name"]),
        kind=cast("Any", found["type"]),
        memory=cast("int", found["memory"]),
        vcpus=cast("int", found["vcpus"]),
        **cast("dict[str, Any]", texts | devices),
    )


def _disk(text: str) -> Disk:
    match = _DISK.fullmatch(text)
    if match is None:
        raise ValueError(text[:80])
    kind, vdev, access, path = match.groups()
    # `xl_cfg` gives a comma at the end one more, which target= eats.
    shown = path.removesuffix(",") if path.endswith(",,") else path
    return Disk(path=shown, vdev=vdev, access=cast("Any", access), format=cast("Any", kind))


def _vif(text: str) -> Vif:
    return Vif(**dict(pair.split("=", 1) for pair in text.split(",") if pair))
