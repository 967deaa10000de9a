"""What a record lacks, and this machine knows: proofs, receipts, and maps of the disks that still lie there."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from imagekit import proof
from imagekit.artifact import Sidecar
from imagekit.errors import ImagekitError
from imagekit.inspect import Report, inspect
from imagekit.inspect.map import merge
from imagekit.inspect.report import Segment
from imagekit.receipt import Ledger
from imagekit.run import ArtifactRecord, DiskMap, Run, Span, with_later

_MOST_SPANS = 160
_MOST_LABEL = 200  # characters
_LOOKED_AT = 100  # disks: reading a thousand of them would take minutes


def complete(run: Run, state: Path) -> Run:
    """Return the record with all that is known here of its artifacts; what lies there no longer stays as it is."""
    sidecars = {artifact.path: _sidecar(artifact) for artifact in run.artifacts if artifact.digest}
    names = {path: {found.digest} for path, found in sidecars.items() if found}
    for artifact in run.artifacts:
        names.setdefault(artifact.path, set()).add(artifact.digest)
    proofs, receipts = list(proof.every(state)), list(Ledger(state))
    looked = 0
    done = []
    for artifact in run.artifacts:
        known = names[artifact.path] - {""}
        found = with_later(
            artifact,
            [one for one in proofs if one.disk in known],
            [one for one in receipts if one.digest in known],
        )
        if found.disk is None and sidecars.get(artifact.path) and looked < _LOOKED_AT:
            looked += 1
            found = found.model_copy(update={"disk": _look(Path(artifact.path))})
        done.append(found)
    return run.model_copy(update={"artifacts": tuple(done)})


def _sidecar(artifact: ArtifactRecord) -> Sidecar | None:
    """Return the sidecar of an artifact that is still the one of the run."""
    with suppress(ImagekitError):
        found = Sidecar.read(Path(artifact.path))
        if found and artifact.digest in {found.digest, found.file.digest if found.file else found.digest}:
            return found
    return None


def _look(path: Path) -> DiskMap | None:
    """Return the map of an artifact's disk; None of one that does not open without its key, say."""
    with suppress(ImagekitError):
        return disk_map(inspect(path))
    return None


def disk_map(report: Report) -> DiskMap:
    """Return what a report of an image says of where things lie."""
    found = report.filesystems
    return DiskMap(
        size=sum(segment.length for segment in report.segments) or report.size,
        table=report.table.kind if report.table else "none",
        filesystems=tuple(f"{one.kind}, {one.place}" for one in found),
        spans=tuple(_spans(merge(report.segments, _MOST_SPANS))),
    )


def _spans(segments: Iterable[Segment]) -> Iterable[Span]:
    for one in segments:
        yield Span(start=one.start, length=one.length, kind=one.kind.value, label=one.label[:_MOST_LABEL])
