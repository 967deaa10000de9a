"""What is verified: a main file, and what its sidecar claims."""

from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from imagekit import targets
from imagekit.artifact import SUFFIX, Sidecar
from imagekit.errors import UsageError, VerificationError
from imagekit.verify.claims import Claims

_BUNDLE = ".manifest.xml"  # a name that nothing else has


@dataclass(frozen=True, slots=True)
class Subject:
    """A main file of `length` bytes, its target, and the sidecar's claims where there is one.

    Where a main file wraps the disk, `path` and `length` are the disk's, and `main` is that file; `guest` is the
    kind of the VM that it holds with the disk, "" for none.
    """

    path: Path
    target: str
    length: int
    claims: Claims | None
    main: Path | None = None
    guest: str = ""

    def beside(self, suffix: str) -> Path:
        """Return where the companion with this suffix lies."""
        main = self.main or self.path
        return main.with_name(main.name + suffix)


def identify(path: Path, target: str | None) -> Subject:
    """Return the subject that a path (of a main file or of its sidecar) and a --target name.

    UsageError for no file, or for one without a sidecar and without a target; VerificationError when the sidecar
    is damaged, alone, or of another target.
    """
    main = path.with_name(path.name.removesuffix(SUFFIX)) if path.name.endswith(SUFFIX) else path
    length = _length(main, alone=main != path and path.exists())
    sidecar = Sidecar.read(main)
    if sidecar is None and target is None and main.name.endswith(_BUNDLE):
        target = "ami"
    if target is not None:
        targets.load(target)
    if sidecar is None:
        if target is None:
            raise UsageError(
                f"{main} has no sidecar beside it, so what it is to be is not known",
                hint=f"name its --target: {', '.join(targets.names())}",
            )
        return Subject(main.absolute(), target, length, None)
    if target not in {None, sidecar.target}:
        raise VerificationError(f"{main} was not built for {target}", details=f"its sidecar says {sidecar.target}")
    return Subject(main.absolute(), sidecar.target, length, Claims.of(sidecar))


def _length(main: Path, *, alone: bool) -> int:
    try:
        status = main.stat()
    except FileNotFoundError:
        if alone:
            raise VerificationError(f"there is a sidecar, and no {main.name} beside it") from None
        raise UsageError(f"{main} is not there") from None
    if not S_ISREG(status.st_mode):
        raise UsageError(f"{main} is no file", hint="name an artifact's main file, or its sidecar")
    return status.st_size
