"""Xen's own domain configurations: xl.cfg(5) for today's hosts, and the older one that xm and xend read.

The grammar of the first is Xen's tools/libs/util/libxlu_cfg_l.l and libxlu_disk_l.l; the second is Python source,
run by `xm create` (Xen up to 4.4). A double-quoted string of printable characters, with nothing but quotes and
backslashes escaped, means the same to both. Numeric escapes would not: libxlu loses the character.
"""

from collections.abc import Iterable, Iterator

from imagekit.errors import RecipeError
from imagekit.formats.domain import Disk, Domain, Vif

_Value = str | int | tuple[str, ...]

# What xend calls the way to a disk; a raw one is a loop device on a file, or a device of the host.
_XM_WAYS = {"raw": "file:", "qcow2": "tap:qcow2:", "vhd": "tap:vhd:"}


def xl_cfg(domain: Domain) -> str:
    """Return the domain as xl.cfg(5) text, for Xen 4.5 and later (HVM, PVH: 4.10 and later); it ends in a newline.

    Older versions of xl ignore `cmdline` without a word: give them `xm_cfg`, which xl reads too.
    """
    return _rendered("Start it, with its console: xl create -c, and this file's name", _xl_settings(domain))


def xm_cfg(domain: Domain) -> str:
    """Return the domain as the Python text that `xm create` runs: for hosts before Xen 4.5; it ends in a newline.

    It is plain data, so xl reads it as well. RecipeError: a PVH domain, which xend cannot start, and what xend's
    ASCII, comma-separated tongue cannot say.
    """
    if domain.kind == "pvh":
        raise RecipeError(f"xm starts no {domain.kind} domain", hint="PVH came with Xen 4.10: use its xl")
    text = _rendered("Start it, with its console: xm create -c, and this file's name", _xm_settings(domain))
    if not text.isascii():
        # Python 2 refuses a source with other bytes in it, and xend its XML-RPC.
        raise RecipeError("an xm configuration is ASCII only", hint="use ASCII paths and an ASCII command line")
    return text


def _xl_settings(domain: Domain) -> Iterator[tuple[str, _Value]]:
    yield "name", domain.name
    if domain.uuid is not None:
        yield "uuid", domain.uuid
    yield "type", domain.kind
    yield from _boot(domain, cmdline_key="cmdline")
    yield "memory", domain.memory
    yield "vcpus", domain.vcpus
    if domain.disks:
        yield "disk", tuple(map(_xl_disk, domain.disks))
    yield from _vifs_and_policies(domain)


def _xm_settings(domain: Domain) -> Iterator[tuple[str, _Value]]:
    # `builder` for HVM alone: xend's default "linux" is the PV one; xl, which says "generic", would choke on it.
    yield "name", domain.name
    if domain.uuid is not None:
        yield "uuid", domain.uuid
    if domain.boot == "bios":
        # The guest's firmware, in xend's words; xl says that it ignores this, and takes its own.
        yield "builder", "hvm"
        yield "kernel", "hvmloader"
    yield from _boot(domain, cmdline_key="extra")
    yield "memory", domain.memory
    yield "vcpus", domain.vcpus
    if domain.kind == "pv" and domain.memory % 2 == 0:
        # Fewer TLB misses. Only for whole pages of 2 MiB: xend would lose the odd one.
        yield "superpages", 1
    if domain.disks:
        yield "disk", tuple(map(_xm_disk, domain.disks))
    yield from _vifs_and_policies(domain)


def _boot(domain: Domain, cmdline_key: str) -> Iterator[tuple[str, _Value]]:
    if domain.boot == "bios":
        yield "boot", "c"
        yield "serial", "pty"
        yield "vnc", 0  # else there is a screen that anybody on the host may look at
    elif domain.kernel is None:
        yield "bootloader", domain.bootloader
    else:
        yield "kernel", domain.kernel
    if domain.ramdisk is not None:
        yield "ramdisk", domain.ramdisk
    if domain.cmdline:
        yield cmdline_key, domain.cmdline


def _vifs_and_policies(domain: Domain) -> Iterator[tuple[str, _Value]]:
    if domain.vifs:
        yield "vif", tuple(map(_vif, domain.vifs))
    yield "on_poweroff", domain.on_poweroff
    yield "on_reboot", domain.on_reboot
    yield "on_crash", domain.on_crash


def _xl_disk(disk: Disk) -> str:
    # target= eats the rest of the string, commas and all, but for one comma at its end: give it one to eat.
    spare = "," if disk.path.endswith(",") else ""
    return f"format={disk.format}, vdev={disk.vdev}, access={disk.access}, target={disk.path}{spare}"


def _xm_disk(disk: Disk) -> str:
    if "," in disk.path:
        raise RecipeError(f"xm cannot name the disk {disk.path!r}", hint="a path for xm has no comma in it")
    way = "phy:" if disk.is_device and disk.format == "raw" else _XM_WAYS[disk.format]
    return f"{way}{disk.path},{disk.vdev},{'w' if disk.access == 'rw' else 'r'}"


def _vif(vif: Vif) -> str:
    """Write key=value pairs; an interface without any is the host's default one, for xl as for xm."""
    pairs = (("mac", vif.mac), ("bridge", vif.bridge), ("ip", vif.ip), ("script", vif.script), ("type", vif.type))
    return ",".join(f"{key}={value}" for key, value in pairs if value is not None)


def _rendered(head: str, settings: Iterable[tuple[str, _Value]]) -> str:
    lines = ("# Made by imagekit.", f"# {head}", *(f"{key} = {_literal(value)}" for key, value in settings))
    return "".join(f"{line}\n" for line in lines)


def _literal(value: _Value) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _quoted(value)
    return "[\n" + "".join(f"    {_quoted(item)},\n" for item in value) + "]"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
