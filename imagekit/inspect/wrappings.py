"""What a disk is wrapped in: a VHD's footer and header, an XVA's machine, a manifest, as names and values."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from imagekit.inspect.words import size
from imagekit.unwrap import Form

Pair = tuple[str, str]
_SINCE = 946684800  # a VHD's year 2000, in seconds since 1970


def tell(path: Path, form: Form) -> Iterator[Pair]:
    """Yield names and values; VerificationError for a wrapping that is damaged."""
    told = {Form.VHD: _vhd, Form.XVA: _xva, Form.OVF: _ovf, Form.BUNDLE: _bundle, Form.VM_KERNEL: _vm_kernel}.get(
        form
    )
    if told is not None:
        yield from told(path)


def _vhd(path: Path) -> Iterator[Pair]:
    from imagekit.formats import vhd  # noqa: PLC0415 -- most files are no VHDs

    with path.open("rb") as file:
        found = vhd.read_file(file.fileno())
        names = list(found.parent_names())
    footer, header = found.footer, found.header
    yield "form", f"VHD, {footer.kind.name.lower()}"
    yield "disk", f"{size(footer.size)}, {footer.size} bytes"
    version = f"{footer.creator_version >> 16}.{footer.creator_version & 0xFFFF}"
    yield "made by", f"{footer.creator.decode('latin-1').strip(chr(0))} {version}"
    yield "made at", datetime.fromtimestamp(footer.time + _SINCE, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    yield "UUID", str(footer.uuid)
    cylinders, heads, sectors = footer.geometry
    yield "geometry", f"{cylinders} cylinders, {heads} heads, {sectors} sectors"
    if footer.hidden or footer.saved:
        yield "marks", ", ".join(word for word, on in (("hidden", footer.hidden), ("saved", footer.saved)) if on)
    if header is not None:
        yield "blocks", f"{found.blocks} of {len(found.table)} are there, of {size(header.block)} each"
    if header is not None and header.parent is not None:
        yield "parent", f"{header.parent_name} ({header.parent})"
        for platform, name in names:
            yield f"parent, {platform.decode('latin-1')}", name


def _xva(path: Path) -> Iterator[Pair]:
    from imagekit.formats import xva  # noqa: PLC0415 -- most files are no XVAs

    with path.open("rb") as file:
        facts = xva.Xva(iter(lambda: file.read(1 << 20), b"")).facts
    yield "form", "XVA"
    for machine in facts.machines:
        yield "VM", f"{machine.name}, {size(machine.memory)}, {machine.vcpus} vCPU"
    for disk in facts.disks:
        yield "disk", f"{disk.name}, {size(disk.size)}, {disk.uuid}"


def _bundle(path: Path) -> Iterator[Pair]:
    from imagekit.formats.ami.manifest import from_xml  # noqa: PLC0415 -- an extra

    found = from_xml(path.read_bytes()).manifest
    yield "form", "AMI bundle"
    yield "image", f"{found.name}, {size(found.size)}"
    yield "account", found.user
    yield "architecture", found.machine.architecture
    if found.machine.kernel:
        yield "kernel", found.machine.kernel
    yield "parts", f"{len(found.parts)}, {found.bundled_size} bytes"


def _ovf(path: Path) -> Iterator[Pair]:
    from imagekit.formats import ovf  # noqa: PLC0415 -- few files are packed so

    yield "form", "gzipped tar of a VHD, as OpenStack's ovf"
    yield ovf.MEMBER, size(sum(len(piece) for piece in ovf.read(path)))


def _vm_kernel(path: Path) -> Iterator[Pair]:
    from imagekit.formats import vm_kernel  # noqa: PLC0415 -- few files are packed so

    found = vm_kernel.read(path)
    yield "form", "tar of a kernel's folder, for Qubes' dom0"
    yield "kernel", f"{vm_kernel.PLACE}/{found.name}/{vm_kernel.VMLINUZ}, {size(len(found.kernel))}"
    known = {b"": "none", vm_kernel.EMPTY: "an empty one"}
    yield "initramfs", known.get(found.initramfs, size(len(found.initramfs)))
