"""The record of one run as typed models: JSON in and out, with a schema.

Times are seconds since 1970, sizes bytes. Nothing of it is a secret: of the settings on the command line only the
names are kept, of receipts no details.
"""

import json
import socket
from typing import Any, Literal

from pydantic import Field

from imagekit.recipe.base import Model
from imagekit.version import __version__

SCHEMA = "imagekit.run/1"

Time = float
Outcome = Literal["made", "cached", "failed", "skipped", "missing"]


class Failure(Model):
    """What went wrong, as the command line says it."""

    brief: str = Field(description="What is wrong.")
    details: str = Field(default="", description="What was seen.")
    hint: str = Field(default="", description="What to do about it.")
    code: int = Field(description="The exit code that it has alone.")


class StepRecord(Model):
    """One step that was run, or whose result was there."""

    step: str = Field(description="Its name: root, disk, …")
    image: str = Field(description="The image that it was for, the first where several share it.")
    cached: bool = Field(description="Its result was there before.")
    begun: Time = Field(description="When it began.")
    seconds: float = Field(description="How long it took.")
    machine: str = Field(description="Where it ran.")
    reason: str = Field(default="", description="Why it ran and was not taken from the cache.")
    waited: bool = Field(default=False, description="It waited for another build that made the same.")


class SourceFile(Model):
    """A file or folder of the user's that an artifact was made from."""

    path: str = Field(description="Where it lay.")
    digest: str = Field(description="64 hex characters, as in docs/decisions/0001-digest-by-blocks.md.")


class Span(Model):
    """A run of the disk that holds one thing."""

    start: int = Field(description="The first byte.")
    length: int = Field(description="In bytes.")
    kind: str = Field(description="As in `imagekit inspect --json`: table, kernel, file, free, hole, …")
    label: str = Field(default="", description="What it is: a file's path, say.")


class DiskMap(Model):
    """What lies where on an artifact's disk, with small neighbours merged."""

    size: int = Field(description="Of the disk.")
    table: str = Field(description="none, mbr or gpt.")
    filesystems: tuple[str, ...] = Field(default=(), description="Each with its place, for people.")
    spans: tuple[Span, ...] = Field(default=(), description="They cover the disk once.")


class BootRecord(Model):
    """One proof: a boot of the artifact on a real Xen."""

    way: str = Field(description="pv, pygrub, pv-grub, pvh, …")
    loader: str = Field(description="The boot loader and its version.")
    booted: bool = Field(description="It did what was expected.")
    verdict: str = Field(description="In a word.")
    why: str = Field(description="In a line.")
    started: str = Field(description="When, UTC.")
    seconds: float = Field(description="All stages together.")
    console: str = Field(description="What the guest said.")


class Made(Model):
    """One thing that a publication made or uses in a cloud."""

    kind: str = Field(description="snapshot, image, …")
    id: str = Field(description="Its id there.")


class Publication(Model):
    """One receipt: the artifact in one region, or on one host."""

    id: str = Field(description="The receipt's.")
    region: str = Field(description="Or host.")
    state: str = Field(description="pending, published, failed or destroyed.")
    result: str = Field(description="The id that a user wants: ami-….")
    rehearsed: bool = Field(default=False, description="To the stand-in: nothing of it exists.")
    resources: tuple[Made, ...] = Field(default=(), description="What it made, and is there.")


class ArtifactRecord(Model):
    """One artifact that was asked for, and what became of it."""

    image: str = Field(description="The image's name.")
    target: str = Field(description="The system that it is for.")
    outcome: Outcome = Field(
        description="cached: no step had to run; skipped: not for that target; missing: the run ended before."
    )
    path: str = Field(default="", description="The main file.")
    companions: tuple[str, ...] = Field(default=(), description="The files beside it.")
    digest: str = Field(default="", description="Of the disk, 64 hex characters.")
    size: int = Field(default=0, description="Length.")
    on_disk: int = Field(default=0, description="What it takes there.")
    seconds: float = Field(default=0, description="From the start of the build until it was in place.")
    kernel: str = Field(default="", description="What the kernel is, in a line.")
    sources: tuple[SourceFile, ...] = Field(default=(), description="What it was made from.")
    failure: Failure | None = Field(default=None, description="Why it failed, or was skipped.")
    disk: DiskMap | None = Field(default=None, description="With --report only: reading images takes its time.")
    boots: tuple[BootRecord, ...] = Field(default=(), description="Proofs.")
    publications: tuple[Publication, ...] = Field(default=(), description="Receipts.")


class Run(Model):
    """One run of `imagekit build`."""

    schema_: Literal["imagekit.run/1"] = Field(default="imagekit.run/1", alias="schema", description="This form.")
    version: str = Field(default=__version__, description="imagekit's.")
    command: str = Field(description="build.")
    inputs: tuple[str, ...] = Field(description="Kernels and recipes.")
    targets: tuple[str, ...] = Field(default=(), description="--target.")
    settings: tuple[str, ...] = Field(default=(), description="Keys that the command line set, without values.")
    machine: str = Field(default_factory=socket.gethostname, description="Where it was started.")
    begun: Time = Field(description="When it began.")
    ended: Time = Field(description="When it ended.")
    code: int = Field(description="The exit code.")
    failure: Failure | None = Field(default=None, description="Why it failed.")
    artifacts: tuple[ArtifactRecord, ...] = Field(default=(), description="What was asked for, in that order.")
    steps: tuple[StepRecord, ...] = Field(default=(), description="Steps, in the order in which they ended.")
    warnings: tuple[str, ...] = Field(default=(), description="What the user was warned of.")
    retries: int = Field(default=0, description="How often a step was run again: who ran it was gone.")

    def to_bytes(self) -> bytes:
        """Return the file's content: JSON, a newline at the end."""
        return json.dumps(_readable(self.model_dump(mode="json", by_alias=True)), indent=1).encode() + b"\n"


def _readable(value: Any) -> Any:  # noqa: ANN401 -- JSON
    """Return JSON in which bytes of a file's name that are no text are escaped."""
    if isinstance(value, str):
        return value.encode(errors="surrogateescape").decode(errors="backslashreplace")
    if isinstance(value, dict):
        return {_readable(key): _readable(one) for key, one in value.items()}
    return [_readable(one) for one in value] if isinstance(value, list) else value
