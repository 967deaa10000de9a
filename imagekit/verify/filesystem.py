"""The file system: what it is by blkid (util-linux), and whether it is whole by e2fsck or fsck.fat."""

from collections.abc import Generator

from imagekit.command import Completed
from imagekit.errors import VerificationError
from imagekit.programs import find
from imagekit.verify.check import Check, missing, passed, skipped
from imagekit.verify.claims import Filesystem
from imagekit.verify.scratch import DISK, Scratch
from imagekit.verify.table import Spot

_PART = "part"
_NOTHING = 2  # blkid's exit status for "no file system that I know"


_GROUP = "LVM2_member"  # blkid's type for LVM's part of a disk


def check_group(room: Scratch, spot: Spot) -> Check:
    """Check that a volume group lies there; its volumes only a Linux opens."""
    if find("blkid") is None:
        return missing("LVM", "blkid")
    seen = _look(room, spot)
    if seen["TYPE"] != _GROUP:
        raise VerificationError(f"there is {seen['TYPE']} where the sidecar claims a volume group")
    return passed("LVM", f"a physical volume, UUID {seen['UUID']}")


def check_filesystem(claimed: Filesystem | None, room: Scratch, spot: Spot) -> Generator[Check, None, str]:
    """Check type, UUID and label against the claims, and the file system as a whole; return its type."""
    if claimed is not None and find("blkid") is None:
        yield missing("identity", "blkid")
        kind: str = claimed.type
    else:
        seen = _look(room, spot)
        kind = _kind(seen)
        if claimed is not None:
            _compare(seen, claimed)
        yield passed("identity", f"{kind}, UUID {seen['UUID']}, label {seen.get('LABEL', 'none')}")
    if kind.startswith("ext"):
        yield _check_ext(room, spot)
    elif kind.startswith("fat"):
        yield _check_fat(room, spot)
    else:
        yield skipped("file system", f"{kind}: a Linux checks it, with --guestfs")
    return kind


def _look(room: Scratch, spot: Spot) -> dict[str, str]:
    """Return what blkid tells: TYPE, VERSION, UUID, LABEL; VerificationError when there is no file system."""
    place = ("-O", str(spot.offset), "-S", str(spot.size))
    done = room.run("blkid", "-p", "-u", "filesystem,raid", *place, "-o", "export", DISK, ok=range(256))
    told = dict(line.partition("=")[::2] for line in done.text().splitlines())
    if done.status or "TYPE" not in told:
        what = "none that blkid knows" if done.status == _NOTHING else done.complaint() or "more than one"
        raise VerificationError(f"there is no file system at byte {spot.offset}", details=what)
    return {"UUID": "none", **told}


def _kind(told: dict[str, str]) -> str:
    return told.get("VERSION", "fat").lower() if told["TYPE"] == "vfat" else told["TYPE"]


def _compare(told: dict[str, str], claimed: Filesystem) -> None:
    fat = claimed.type.startswith("fat")
    expected = {
        "type": (_kind(told), claimed.type),
        "UUID": (told["UUID"], f"{claimed.uuid[:4]}-{claimed.uuid[4:8]}".upper() if fat else claimed.uuid),
        "label": (told.get("LABEL", ""), claimed.label.upper() if fat else claimed.label),
    }
    for what, (seen, wanted) in expected.items():
        if seen != wanted:
            raise VerificationError(
                f"the file system's {what} is {seen!r}", details=f"its sidecar says {wanted!r}"
            )


def _check_ext(room: Scratch, spot: Spot) -> Check:
    done = room.run("e2fsck", "-fn", f"{DISK}?offset={spot.offset}", ok=range(256))
    if done.status:
        raise VerificationError("e2fsck finds the file system damaged", details=_said(done))
    return passed("file system", done.text().splitlines()[-1].removeprefix(f"{DISK}?offset={spot.offset}: "))


def _check_fat(room: Scratch, spot: Spot) -> Check:
    if find("fsck.fat") is None:
        return missing("file system", "fsck.fat")
    room.copy_part(_PART, spot.offset, spot.size)
    done = room.run("fsck.fat", "-n", _PART, ok=range(256))
    if done.status:
        raise VerificationError("fsck.fat finds the file system damaged", details=_said(done))
    return passed("file system", done.text().splitlines()[-1].removeprefix(f"{_PART}: "))


def _said(done: Completed) -> str:
    return (done.stdout + done.stderr).decode(errors="backslashreplace").strip()[:2000]
