"""The raw disk in a file that wraps one, known by how it begins: VHD, XVA, .tgz of a VHD, AMI bundle.

Of a kernel's folder for Qubes' dom0 it is the kernel that is taken out: that boots, and there is no disk.
"""

import errno
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING

from imagekit.errors import UsageError, VerificationError
from imagekit.formats import vm_kernel
from imagekit.sparse import BlockMap, ReadAt, copy, map_blocks
from imagekit.store import full_disk

if TYPE_CHECKING:
    from imagekit.formats.vhd import Vhd

_HEAD = 512  # bytes; of a manifest's XML, and of a tar's first header
_BLOCK = (
    256 << 10
)  # bytes that hold the first block of what zstd has packed, which is unpacked whole or not at all
_PIECE = 1 << 20
_GENERATIONS = 64  # of differencing VHDs, each another's parent
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_FEW = 64  # bytes of what is packed, to know it by


class Form(StrEnum):
    """What a file is, outside."""

    RAW = "raw"
    VHD = "vhd"
    XVA = "xva"
    OVF = "ovf"
    BUNDLE = "ami"
    VM_KERNEL = "vm-kernel"


def form_of(path: Path) -> Form:
    """Tell a file's form by its content; what cannot be read, or is no plain file, counts as raw."""
    if not path.is_file():
        return Form.RAW
    try:
        with path.open("rb") as file:
            head = file.read(_BLOCK)
            file.seek(max(0, os.fstat(file.fileno()).st_size - _HEAD))
            tail = file.read(_HEAD)
    except OSError:
        return Form.RAW
    if b"conectix" in {head[:8], tail[:8]}:
        return Form.VHD
    return _tar_of(head) or _text_of(head)


def _tar_of(head: bytes) -> Form | None:
    """Tell the form of a tar by its first member's name."""
    first = _unpacked(head)
    if first.startswith(b"ova.xml\0"):
        return Form.XVA
    if first is not head:
        return Form.OVF if first.startswith(b"0.vhd\0") else None
    return Form.VM_KERNEL if vm_kernel.is_one(head) else None


def _text_of(head: bytes) -> Form:
    text = head[:_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n")
    is_manifest = text.startswith((b"<?xml", b"<manifest")) and b"<manifest" in text
    return Form.BUNDLE if is_manifest else Form.RAW


def _unpacked(head: bytes) -> bytes:
    """Return the first bytes of what a head has packed, or the head."""
    if head.startswith(_GZIP):
        with suppress(zlib.error):
            return zlib.decompressobj(31).decompress(head, _FEW)
    if head.startswith(_ZSTD):
        import zstandard  # noqa: PLC0415 -- few files are packed so

        with suppress(zstandard.ZstdError):
            return zstandard.ZstdDecompressor().stream_reader(head).read(_FEW)
    return head


@contextmanager
def unwrapped(path: Path, private_key: Path | None) -> Iterator[Path]:
    """Lend what boots of a file: the file itself, or what was taken out of it into a folder for the time being.

    UsageError when a bundle's private key is not named; VerificationError for what is damaged.
    """
    form = form_of(path)
    if form is Form.RAW:
        yield path
        return
    with _full_disk_told(), TemporaryDirectory(prefix="imagekit-disk-") as folder:
        disk = Path(folder) / (vm_kernel.VMLINUZ if form is Form.VM_KERNEL else f"{path.name}.raw")
        with disk.open("xb") as file:
            take_out(path, form, file.fileno(), private_key)
        yield disk


@dataclass(frozen=True)
class Disk:
    """The disk in a file: its blocks, and its bytes, read where they lie.

    `read_at`: (offset, length) → so many bytes, fewer past its end.
    """

    blocks: BlockMap
    read_at: ReadAt


@contextmanager
def opened(path: Path, private_key: Path | None) -> Iterator[Disk]:
    """Lend the disk in a file, hashed; a VHD's is not unpacked. Errors are those of `unwrapped`."""
    if form_of(path) is Form.VHD:
        from imagekit.formats import vhd  # noqa: PLC0415 -- most files are no VHDs

        with _chain(path) as chain:
            yield Disk(vhd.map_chain(chain), partial(vhd.read_chain, chain))
        return
    with unwrapped(path, private_key) as disk, disk.open("rb") as file:
        yield Disk(map_blocks(disk), lambda offset, length: os.pread(file.fileno(), length, offset))


def take_out(path: Path, form: Form, target: int, private_key: Path | None = None) -> None:
    """Write the disk in a file of this form to the empty file behind a descriptor, its holes kept."""
    if form is Form.BUNDLE:
        _from_bundle(path, target, private_key)
    elif form is Form.VHD:
        _from_vhd(path, target)
    elif form is Form.OVF:
        _from_ovf(path, target)
    elif form is Form.VM_KERNEL:
        with os.fdopen(target, "wb", closefd=False) as file:
            file.write(vm_kernel.read(path).kernel)
    else:
        _from_xva(path, target)


def _from_bundle(path: Path, target: int, private_key: Path | None) -> None:
    from imagekit.formats import ami  # noqa: PLC0415 -- an extra

    if private_key is None:
        raise UsageError(
            "a bundle's image is read with the private key that it was made with",
            hint="--private-key, or EC2_PRIVATE_KEY",
        )
    with TemporaryDirectory(prefix="imagekit-bundle-") as folder:
        image = Path(folder) / "image"
        ami.unbundle(path, image, ami.private_key(ami.read_file(private_key)))
        copy(image, target)


def _from_vhd(path: Path, target: int) -> None:
    from imagekit.formats import vhd  # noqa: PLC0415 -- most files are no VHDs

    with _chain(path) as chain:
        vhd.take_out(chain, target)


@contextmanager
def _chain(path: Path) -> Iterator[list[tuple[int, "Vhd"]]]:
    """Lend a VHD's descriptor and what it says, and before it its parents', the parent of all first."""
    from imagekit.formats import vhd  # noqa: PLC0415 -- most files are no VHDs

    with ExitStack() as stack:
        chain: list[tuple[int, Vhd]] = []
        wanted: Path | None = path
        while wanted is not None:
            if len(chain) == _GENERATIONS:
                raise VerificationError(f"{path} has more than {_GENERATIONS} parents")
            file = stack.enter_context(wanted.open("rb"))
            found = vhd.read_file(file.fileno())
            if chain:
                _check_parent(chain[0][1], found, wanted)
            chain.insert(0, (file.fileno(), found))
            wanted = _parent_of(found, wanted)
        yield chain


def _parent_of(child: "Vhd", path: Path) -> Path | None:
    """Return the file of a child's parent, beside it; None for a disk without one."""
    if child.header is None or child.header.parent is None:
        return None
    if (
        path.suffix.lower() != ".vhd"
    ):  # a guest could write such bytes on its raw disk, to read the files beside it
        raise VerificationError(
            f"{path} is a differencing VHD by its content alone", hint="its name ends with .vhd if that is meant"
        )
    names = [child.header.parent_name, *(name for _, name in child.parent_names())]
    for name in names:
        last = name.replace("\\", "/").rpartition("/")[2]
        if last not in {"", ".", ".."} and (beside := path.with_name(last)).is_file():
            return beside
    raise VerificationError(
        f"{path} is a differencing VHD, and its parent is not beside it", details=f"it is called {names[0]!r}"
    )


def _check_parent(child: "Vhd", parent: "Vhd", path: Path) -> None:
    wanted = child.header.parent if child.header else None
    if wanted != parent.footer.uuid or child.size != parent.size:
        raise VerificationError(
            f"{path} is not the parent of the VHD beside it",
            details=f"it is {parent.footer.uuid}, and {wanted} is wanted",
        )


def _from_ovf(path: Path, target: int) -> None:
    from imagekit.formats import ovf, vhd  # noqa: PLC0415 -- few files are packed so

    with TemporaryDirectory(prefix="imagekit-ovf-") as folder:
        packed = Path(folder) / ovf.MEMBER
        with packed.open("xb", buffering=0) as file:
            for piece in ovf.read(path):
                if piece.strip(b"\0"):
                    file.write(piece)
                else:  # a hole
                    file.seek(len(piece), os.SEEK_CUR)
            file.truncate()
        with packed.open("rb") as file:
            found = vhd.read_file(file.fileno())
            if found.header is not None and found.header.parent is not None:
                raise VerificationError(f"{path} holds a differencing VHD, and no parent of it")
            vhd.take_out([(file.fileno(), found)], target)


def _from_xva(path: Path, target: int) -> None:
    from imagekit.formats import xva  # noqa: PLC0415 -- most files are no XVAs

    with path.open("rb") as file:
        read = xva.Xva(iter(lambda: file.read(_PIECE), b""))
        disks = read.facts.disks
        if len(disks) != 1:
            raise VerificationError(f"{path} has {len(disks)} disks, and one is what we take")
        _grow(target, disks[0].size, path)
        for extent in read.extents():
            view, at = memoryview(extent.data), extent.offset
            while view:
                done = os.pwrite(target, view, at)
                view, at = view[done:], at + done


def _grow(target: int, size: int, path: Path) -> None:
    try:
        os.ftruncate(target, size)
    except OSError as error:
        if error.errno not in {errno.EFBIG, errno.EINVAL}:
            raise
        raise VerificationError(
            f"{path} claims a disk that no file here holds", details=f"{size} bytes"
        ) from error


@contextmanager
def _full_disk_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise full_disk(Path(gettempdir()), "TMPDIR names another place") from error
        raise
