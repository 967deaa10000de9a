"""What a configuration says of a guest, in one set of words, whether it was xl's, xm's or libvirt's."""

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from imagekit.errors import VerificationError
from imagekit.kernel import Way
from imagekit.verify.claims import Claims
from imagekit.verify.xlu import parse_xl_cfg, parse_xl_disk

Told = Mapping[str, str]

_MACHINES = {"xenpv": "pv", "xenpvh": "pvh", "xenfv": "hvm"}
_PYGRUB = {Way.PYGRUB_PV, Way.PVH_PYGRUB}
_FROM_DISK = {*_PYGRUB, Way.HVM}


def from_xl(text: str) -> Told:
    """Return what an xl.cfg says, or an xm.cfg, which knows no `type`; errors as of `parse_xl_cfg`."""
    settings = parse_xl_cfg(text)
    single = {name: value for name, value in settings.items() if isinstance(value, str)}
    disks = settings.get("disk", [])
    if not disks or isinstance(disks, str):
        raise VerificationError("the configuration has no disk")
    disk = parse_xl_disk(disks[0])
    told = {
        "name": single.get("name", ""),
        "memory in MiB": single.get("memory", ""),
        "vcpus": single.get("vcpus", "1"),
        "disk": disk.path,
        "disk's format": disk.format,
        "disk's device": disk.vdev,
        "boot loader": single.get("bootloader", ""),
        "command line": single.get("cmdline", single.get("extra", "")),
    }
    return told | ({"type": single["type"]} if "type" in single else {})


def from_xml(text: str) -> Told:
    """Return what a libvirt domain says; VerificationError for text that is no XML, or has a DTD."""
    if "<!DOCTYPE" in text:
        # Entities grow without end; a domain needs none.
        raise VerificationError("the XML has a document type of its own")
    try:
        domain = ET.fromstring(text)  # noqa: S314 -- without a DTD there is nothing to expand
    except ET.ParseError as error:
        raise VerificationError("this is no XML", details=str(error)) from None
    machine = _attribute(domain, "os/type", "machine")
    return {
        "name": domain.findtext("name", ""),
        "memory in MiB": domain.findtext("memory[@unit='MiB']", ""),
        "vcpus": domain.findtext("vcpu", "1"),
        "type": _MACHINES.get(machine, machine),
        "disk": _attribute(domain, "devices/disk/source", "file")
        or _attribute(domain, "devices/disk/source", "dev"),
        "disk's format": _attribute(domain, "devices/disk/driver", "type"),
        "disk's device": _attribute(domain, "devices/disk/target", "dev"),
        "boot loader": domain.findtext("bootloader", ""),
        "command line": domain.findtext("os/cmdline", ""),
    }


def compare(path: Path, told: Told, claims: Claims) -> None:
    """VerificationError for the first value that a configuration says otherwise than the sidecar."""
    claimed = _claimed(claims)
    for what, seen in told.items():
        if seen != claimed[what]:
            raise VerificationError(
                f"{path.name}: the {what} is {seen!r}", details=f"its sidecar says {claimed[what]!r}"
            )


def _claimed(claims: Claims) -> Told:
    boot = claims.boot
    return {
        "name": claims.image,
        "memory in MiB": str(boot.memory >> 20),
        "vcpus": str(boot.vcpus),
        "type": boot.guest,
        "disk": boot.path or "",
        "disk's format": "raw",
        "disk's device": "xvda",
        "boot loader": "pygrub" if boot.way in _PYGRUB else "",
        # pygrub takes it from the menu, and would add this one behind it; an HVM guest's GRUB takes it from there.
        "command line": "" if boot.way in _FROM_DISK else boot.cmdline,
    }


def _attribute(domain: ET.Element, path: str, name: str) -> str:
    element = domain.find(path)
    return "" if element is None else element.get(name, "")
