"""The record of a run: what `imagekit build --report` writes and `imagekit report` draws, gathered from events.

    recorder = Recorder(Command("build", inputs=("app.xen",)))
    build(plan, store, recorder.beside(listener))
    run = recorder.end(0)

It is kept below the state folder, the newest MOST_KEPT of them.
"""

from imagekit.run.gather import Command, Recorder
from imagekit.run.keep import MOST_KEPT, keep, latest, read, write
from imagekit.run.later import with_later
from imagekit.run.record import (
    ArtifactRecord,
    BootRecord,
    DiskMap,
    Failure,
    Made,
    Publication,
    Run,
    SourceFile,
    Span,
    StepRecord,
)

__all__ = [
    "MOST_KEPT",
    "ArtifactRecord",
    "BootRecord",
    "Command",
    "DiskMap",
    "Failure",
    "Made",
    "Publication",
    "Recorder",
    "Run",
    "SourceFile",
    "Span",
    "StepRecord",
    "keep",
    "latest",
    "read",
    "with_later",
    "write",
]
