"""A disk from one form to another: what any file wraps, into a raw file, a VHD or an XVA, whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagekit.errors import KernelError, TryAgainError, UsageError
from imagekit.formats import vhd, xva
from imagekit.formats.xapi import Appliance
from imagekit.inspect.guests import Answer, guests
from imagekit.place import drafted, unwritten
from imagekit.sparse import BlockMap, copy, map_blocks
from imagekit.stages import Guest
from imagekit.unwrap import Form, form_of, opened, take_out, unwrapped

_ENDINGS = {".raw": Form.RAW, ".img": Form.RAW, ".vhd": Form.VHD, ".xva": Form.XVA}


def form_by_name(path: Path) -> Form:
    """Return the form that a name asks for; UsageError for one that tells nothing."""
    found = _ENDINGS.get(path.suffix.lower())
    if found is None:
        raise UsageError(f"{path} does not say what it is to be", hint="OUT.raw, OUT.vhd, OUT.xva, or --to")
    return found


def choose_guest(source: Path, wanted: Guest | None = None, private_key: Path | None = None) -> tuple[Guest, str]:
    """Return the kind of guest that boots by a disk, and a warning where that cannot be told, or "".

    `wanted` is the one that it is to be; without it, it is the first that boots. KernelError for a disk that does
    not boot so; errors of `inspect` for what cannot be read.
    """
    found = guests(source, private_key)
    good = [guest for guest, answer in found.items() if answer.boots]
    likely = [*good, *(guest for guest, answer in found.items() if answer.boots is None)]
    guest = wanted or next(iter(likely), None)
    if guest is None or found[guest].boots is False:
        told = {wanted: found[wanted]} if wanted else found
        raise KernelError(
            f"{source} boots no {f'{wanted.upper()} guest' if wanted else 'guest of a Xen host'}",
            details="\n".join(f"{kind.upper()}: {answer.why}" for kind, answer in told.items()),
            hint=f"it boots by {' or '.join(f'--guest {kind}' for kind in good)}" if good else "",
        )
    return guest, _warning(guest, found[guest])


def _warning(guest: Guest, answer: Answer) -> str:
    if answer.boots:
        return ""
    return f"whether it boots as {guest.upper()} guest cannot be told: {answer.why}"


def convert(
    source: Path,
    out: Path,
    form: Form,
    *,
    epoch: int = 0,
    parent: Path | None = None,
    private_key: Path | None = None,
    machine: Appliance | None = None,
) -> None:
    """Write the disk in `source` to `out`: raw, as a VHD (over a parent: what differs from it), or as an XVA.

    An XVA holds a `machine` with the disk.
    `epoch` is the VHD's time, in seconds since 1970. UsageError for what cannot be meant, VerificationError for a
    source that is damaged, TryAgainError for one that was changed meanwhile, or a full disk.
    """
    for path in (source, *([parent] if parent else [])):
        _check_source(path, out)
    if parent is not None and (form is not Form.VHD or parent.parent.resolve() != out.parent.resolve()):
        raise UsageError("a VHD's parent lies beside it", hint="--parent is for OUT.vhd in the same folder")
    if (form is Form.XVA) is (machine is None):
        raise UsageError("an XVA holds a VM, and nothing else does", hint="--memory and --guest are for OUT.xva")
    before = _state(source)
    if Form.VM_KERNEL in {form_of(source), form_of(parent or source)}:
        raise UsageError(f"{source} holds a kernel for Qubes' dom0, and no disk")
    with _explained(out), drafted(out) as (target, appear):
        if machine is not None:
            _write_xva(source, target, machine, private_key)
        else:
            _write(source, target, form, epoch, parent, private_key)
        if _state(source) != before:
            raise TryAgainError(f"{source} was changed while it was read")
        appear()


def _write(
    source: Path, target: int, form: Form, epoch: int, parent: Path | None, private_key: Path | None
) -> None:
    if form is Form.RAW:
        found = form_of(source)
        if found is Form.RAW:
            copy(source, target)
        else:
            take_out(source, found, target, private_key)
        return
    with unwrapped(source, private_key) as disk:
        image = map_blocks(disk)
        made = vhd.layout(image, epoch)
        if parent is not None:
            with unwrapped(parent, None) as base, parent.open("rb") as file:
                footer = vhd.read_file(file.fileno()).footer
                named = vhd.Parent(footer.uuid, footer.time, parent.name)
                if footer.size != made.size:
                    raise UsageError(
                        "a differencing VHD has its parent's size",
                        details=f"{made.size} bytes, and the parent has {footer.size}",
                    )
                made = vhd.difference(image, map_blocks(base), named, epoch)
        with disk.open("rb") as file:
            vhd.write_file(made, file.fileno(), image.length, target)


def _write_xva(source: Path, target: int, machine: Appliance, private_key: Path | None) -> None:
    """Write the XVA of a machine; its disk ends at the next 2 MiB, as XenServer's own do."""
    with opened(source, private_key) as disk, os.fdopen(target, "wb", closefd=False) as file:
        size = vhd.disk_size(disk.blocks.length)

        def read_at(offset: int, length: int) -> bytes:
            return disk.read_at(offset, length).ljust(length, b"\0")

        for piece in xva.archive(machine, BlockMap(size, disk.blocks.blocks)).pieces(read_at):
            file.write(piece)


def _check_source(path: Path, out: Path) -> None:
    try:
        same = out.exists() and path.samefile(out)
        readable = path.is_file() and os.access(path, os.R_OK)
    except OSError as error:
        raise UsageError(f"{path} cannot be read", details=error.strerror or "") from error
    if not readable:
        raise UsageError(f"{path} is not there, or cannot be read")
    if same:
        raise UsageError(f"{out} would be written over, and is an input", hint="name another file")


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritten(error, out) from error
