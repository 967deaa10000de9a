"""What is booted: an artifact's disk by its own bytes, and its own way of booting."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile

from imagekit import verify
from imagekit.artifact import Sidecar, sidecar_path
from imagekit.errors import KernelError, UsageError, VerificationError
from imagekit.formats import domain, vm_kernel
from imagekit.kernel import Kind, Way, read_kernel, why_not
from imagekit.prove.job import DIRECT, kind_of
from imagekit.sparse import BLOCK, BlockMap, digest_file, map_blocks
from imagekit.unwrap import Form, form_of
from imagekit.verify import Claims

_MIB = 1 << 20
_WAYS = {"ebs": Way.PV_GRUB, "ami": Way.PV_GRUB, "qubes": Way.MULTIBOOT}
_PYGRUB = {"pv": Way.PYGRUB_PV, "pvh": Way.PVH_PYGRUB}
_DIRECT = {"pv": Way.PV_DIRECT, "pvh": Way.PVH}
_DEFAULT = 64 * _MIB


@dataclass(frozen=True, slots=True)
class Subject:
    """A disk or a kernel to boot: `memory` in bytes; `digest` is that of the bytes that are booted."""

    path: Path
    name: str
    target: str
    way: Way
    memory: int
    vcpus: int
    digest: str
    claims: Claims | None
    disk: bool = True
    kernel: bytes = b""
    ramdisk: bytes = b""
    cmdline: str = ""


def subject(
    path: Path,
    *,
    target: str | None,
    way: Way | None,
    memory: int | None,
    raw: Path | None = None,
    guest: domain.Kind | None = None,
) -> Subject:
    """Return what a path, and what was asked for, come to; `raw` is the disk or kernel in it, where it wraps one.

    Without a way, `guest` is the kind of guest that the artifact's loader shall make; None is the artifact's own.

    UsageError for what cannot be booted as asked; VerificationError (exit 6) for a file that is not what its
    sidecar says.
    """
    if not path.is_file():
        raise UsageError(f"{path} is not there, or is no file")
    if way is None and guest is None and target is None and not sidecar_path(path).exists():
        raise UsageError(
            f"{path} has no sidecar beside it, so how it is booted is not known",
            hint=f"--by {', '.join(way.value for way in Way)}",
        )
    sidecar = Sidecar.read(path)
    claims = None if sidecar is None else Claims.of(sidecar)
    booted = raw or path
    digest = digest_file(booted)
    if claims is not None and claims.digest != digest:
        raise VerificationError(
            f"{path} is not what its sidecar says",
            details=f"its digest is {digest}\nin the sidecar: {claims.digest}",
            hint="build it again, or prove it alone, with --by",
        )
    system = target or (claims.target if claims else "")
    own = _own_way(claims, target, path)
    found = Subject(
        path=booted,
        name=claims.image if claims else path.name,
        target=system,
        way=way or (own if guest is None else _way_of(guest, own, system, path)),
        memory=memory or (claims.boot.memory if claims else _DEFAULT),
        vcpus=claims.boot.vcpus if claims else 1,
        digest=digest,
        claims=claims,
    )
    if found.way not in DIRECT:
        _refuse_kernel(found, path)
        return found
    return _from_folder(found, path) if form_of(path) is Form.VM_KERNEL else _with_kernel(found)


def _own_way(claims: Claims | None, target: str | None, path: Path) -> Way:
    if claims is not None and target in {None, claims.target}:
        return claims.boot.way
    if form_of(path) is Form.VM_KERNEL:
        return Way.PVH
    return _WAYS.get(target or "", Way.PYGRUB_PV)


def _way_of(guest: domain.Kind, own: Way, target: str, path: Path) -> Way:
    """Return the way to a kind of guest by what starts the artifact's own one, or, beside it, by its target."""
    if guest == "hvm":
        return Way.HVM
    if own in DIRECT or _is_kernel(path):
        return _DIRECT[guest]
    if kind_of(own) == guest:
        return own
    by_target = _WAYS.get(target, _PYGRUB[guest])
    return by_target if kind_of(by_target) == guest else _PYGRUB[guest]


def _refuse_kernel(found: Subject, path: Path) -> None:
    """UsageError where what is booted is a kernel, with no disk around it."""
    if form_of(path) is Form.VM_KERNEL or (found.claims is None and _is_kernel(found.path)):
        more = " --boot hvm" if found.way is Way.HVM else ""
        raise UsageError(
            f"{path} is a kernel, and by {found.way.value} a guest boots from a disk",
            hint=f"imagekit build{more} makes one of a kernel; without one: --by {', '.join(sorted(DIRECT))}",
        )


def _from_folder(found: Subject, path: Path) -> Subject:
    """Take kernel and initramfs as Qubes' dom0 hands them to Xen; the qube's disks are not what it boots from."""
    folder = vm_kernel.read(path)
    cmdline = found.claims.boot.cmdline if found.claims else ""
    return replace(found, disk=False, kernel=folder.kernel, ramdisk=folder.initramfs, cmdline=cmdline)


def _with_kernel(found: Subject) -> Subject:
    """Read the kernel of a direct boot: the file itself, the artifact's companion, or what pygrub takes."""
    claims = found.claims
    if claims is None and _is_kernel(found.path):
        return replace(found, disk=False, kernel=found.path.read_bytes())
    if claims is None or ".xen" not in claims.companions:
        kernel, cmdline = verify.kernel_of(found.path)
        return replace(found, kernel=kernel, cmdline=cmdline)
    beside = found.path.with_name(found.path.name + ".xen")
    if not beside.exists() or digest_file(beside) != claims.companions[".xen"]:
        raise VerificationError(f"{beside} is not what the sidecar says")
    return replace(found, kernel=beside.read_bytes(), cmdline=claims.boot.cmdline)


def _is_kernel(path: Path) -> bool:
    """Tell whether a file is a kernel that Xen or GRUB loads."""
    try:
        facts = read_kernel(path)
    except KernelError:
        return False
    return facts.kind is not Kind.NONE or why_not(facts, Way.HVM) is None


@contextmanager
def disk(found: Subject, scratch: Path) -> Iterator[int | None]:
    """Lend a descriptor of the disk as the cloud will have it; None where the kernel boots without one.

    A block list is put together again, from the blocks that it names and no others.
    """
    if found.claims is not None and found.claims.blocks is not None:
        with TemporaryFile(dir=scratch) as file:
            _put_together(found.path, found.claims.blocks, file.fileno())
            with _reading(f"/proc/self/fd/{file.fileno()}") as descriptor:
                yield descriptor
    elif not found.disk:
        yield None
    else:
        with _reading(found.path) as descriptor:
            yield descriptor


@contextmanager
def _reading(path: str | Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _put_together(source: Path, listed: BlockMap, target: int) -> None:
    os.ftruncate(target, listed.length)
    with source.open("rb") as file:
        for index, _ in listed.blocks:
            os.pwrite(target, os.pread(file.fileno(), BLOCK, index * BLOCK), index * BLOCK)
    if map_blocks(Path(f"/proc/self/fd/{target}")) != listed:
        raise VerificationError(f"{source} changed while it was read")
