"""Makes a lab out of Debian's packages, in a folder beside its own, and puts it in place when it is whole."""

import fcntl
import glob
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from imagekit.errors import ToolError, UsageError
from imagekit.prove.lab.apt import Apt
from imagekit.prove.lab.debs import Source, key_of, unpack
from imagekit.prove.lab.folder import DebFolder
from imagekit.prove.lab.make import make
from imagekit.prove.lab.record import describe, is_lab, read_record
from imagekit.prove.lab.stored import Lab, load
from imagekit.prove.lab.variants import PLAIN, Variant

Say = Callable[[str], None]


def prepare(folder: Path, variant: Variant = PLAIN, *, debs: Path | None = None, say: Say) -> Lab:
    """Make the lab, or leave it if the packages and our revision are those it was made of.

    The packages come from `debs`, or from apt's sources. ToolError names the packages that are missing.
    """
    folder = folder.absolute()
    _refuse_strangers(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder, say), _workplace(folder) as work:
        source = DebFolder(debs, variant.packages) if debs else Apt(work / "apt", variant.packages)
        _prepare(folder, work, variant, source, say)
    lab = load(folder, variant)
    if lab is None:
        raise ToolError(f"{folder}: the lab changed while it was made", hint="prepare it again")
    return lab


def _prepare(folder: Path, work: Path, variant: Variant, source: Source, say: Say) -> None:
    say("asking for the packages")
    wanted = source.wanted()
    key = key_of(wanted)
    there = read_record(folder, variant)
    if there and there.key == key:
        say(f"{folder}: up to date")
        return
    say(f"fetching {len(wanted)} packages")
    files = source.fetch(wanted)
    say("unpacking")
    unpack(files, work / "unpacked")
    say("making dom0")
    new = work / "lab"
    new.mkdir()
    make(work / "unpacked", work, new, variant)
    describe(new, variant, key, {deb.name: deb.version for deb in wanted}).write(new)
    _put(new, folder, work)
    say(f"{folder}: made")


def _refuse_strangers(folder: Path) -> None:
    """Keep away from what is no lab: its place would be taken."""
    if folder.exists() and not is_lab(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder}: there is something else already", hint="give a folder that is empty or new")


@contextmanager
def _alone(folder: Path, say: Say) -> Iterator[None]:
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another one who prepares this lab")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """Make a folder beside, which goes at the end; those of killed ones go first."""
    prefix = f".{folder.name}.new-"
    for left in folder.parent.glob(f"{glob.escape(prefix)}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent, ignore_cleanup_errors=True) as work:
        yield Path(work)


def _put(new: Path, folder: Path, work: Path) -> None:
    """Give the new lab its name; an old one goes with the workplace."""
    if folder.exists():
        folder.rename(work / "old")
    new.rename(folder)
