"""The disk in a VHD, an XVA or a .tgz of a VHD, taken out of it, and what XenServer's kin wants of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from imagekit.command import run
from imagekit.errors import VerificationError
from imagekit.formats import ovf, xva
from imagekit.kernel import Way
from imagekit.programs import find
from imagekit.sparse import digest_file
from imagekit.unwrap import Form, form_of, unwrapped
from imagekit.verify.check import Check, missing, passed
from imagekit.verify.content import check_length
from imagekit.verify.subject import Subject

_UNIT = 2 << 20
_PIECE = 1 << 20
_DIFFERENT = 1  # of `qemu-img compare`; more is a failure of its own


@contextmanager
def taken_out(subject: Subject) -> Iterator[tuple[Sequence[Check], Subject]]:
    """Lend the disk in the main file, as the subject of the sidecar; first the file itself is checked."""
    checks = list(_check_file(subject))
    with unwrapped(subject.path, None) as disk:
        checks += _compared(subject.path, disk)
        guest = _guest(subject)
        yield checks, replace(subject, path=disk, length=disk.stat().st_size, main=subject.path, guest=guest)


def check_xcp(subject: Subject) -> Iterator[Check]:
    """Check the disk's size, and the kernel for dom0."""
    size = _check_size(subject)
    claims = subject.claims
    direct = claims is not None and claims.boot.way in {Way.PV_DIRECT, Way.PVH}
    if claims is not None and direct and claims.companions.get(".xen") != claims.kernel.digest:
        raise VerificationError("the kernel beside the image is not the one on the disk")
    yield size


def _guest(subject: Subject) -> str:
    """Return the kind of an XVA's VM, "" for none; VerificationError for another than the sidecar's."""
    if form_of(subject.path) is not Form.XVA:
        return ""
    with subject.path.open("rb") as file:
        machines = xva.Xva(iter(lambda: file.read(_PIECE), b"")).facts.machines
    kind = machines[0].kind if machines else ""
    if subject.claims is not None and kind != subject.claims.boot.guest:
        raise VerificationError(
            f"the XVA's VM is {kind or 'of no kind'}", details=f"its sidecar says {subject.claims.boot.guest}"
        )
    return kind


def _check_file(subject: Subject) -> Iterator[Check]:
    """Check that what wraps the disk is the one that the sidecar describes."""
    claimed = subject.claims.file if subject.claims else None
    if claimed is None:
        return
    check_length(subject, claimed.length)
    seen = digest_file(subject.path)
    if seen != claimed.digest:
        seen_and_said = (f"its digest is {seen}", f"its sidecar says {claimed.digest}")
        raise VerificationError(
            f"{subject.path.name} is not the file that its sidecar describes",
            details="\n".join((*seen_and_said, *_damage(subject.path))),
            hint="copy it again, or build it again",
        )
    yield passed(claimed.form.upper(), f"{subject.length} bytes, by blocks {seen}")


def _damage(path: Path) -> Iterator[str]:
    """Yield what a reader of the file says of its damage, if that is where it shows."""
    try:
        with unwrapped(path, None):
            pass
    except VerificationError as error:
        yield f"{error.brief}: {error.details}" if error.details else error.brief


def check_cloud(subject: Subject) -> Iterator[Check]:
    """Check the disk's size, and what a .tgz holds by tar(1): OpenStack's importer takes one name only."""
    yield _check_size(subject)
    main = subject.main
    if main is None or form_of(main) is not Form.OVF:
        return
    listed = run("tar", "-tzf", main, timeout=3600).stdout.decode(errors="replace").splitlines()
    if listed != [ovf.MEMBER]:
        raise VerificationError(f"{main.name} holds {listed!r:.200}", hint=f"{ovf.MEMBER} alone is imported")
    yield passed("tar", ovf.MEMBER)


def _check_size(subject: Subject) -> Check:
    if not subject.length or subject.length % _UNIT:
        raise VerificationError("a VDI is a multiple of 2 MiB", details=f"the disk has {subject.length} bytes")
    return passed("VDI", f"{subject.length >> 20} MiB")


def _compared(main: Path, disk: Path) -> Iterator[Check]:
    """Have qemu-img, whose reader is not ours, compare a VHD with the disk that was taken out of it."""
    if form_of(main) is not Form.VHD:
        return
    if find("qemu-img") is None:
        yield missing("qemu-img", "qemu-img")
        return
    done = run("qemu-img", "compare", "-f", "vpc", "-F", "raw", main, disk, timeout=3600, ok=(0, _DIFFERENT))
    if done.status == _DIFFERENT:
        raise VerificationError("qemu-img reads another disk out of it", details=done.stdout.decode()[:500])
    yield passed("qemu-img", "reads the same disk")
