"""Gathers the record of a run from its events, and from what the command line knows beside them."""

import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock

from imagekit.artifact import Artifact
from imagekit.errors import ExitCode, ImagekitError
from imagekit.events import (
    Event,
    ImageFailed,
    Listener,
    Placed,
    StepDone,
    StepRetried,
    StepStarted,
    StepWaits,
    Warned,
)
from imagekit.run.record import (
    ArtifactRecord,
    Failure,
    Run,
    SourceFile,
    StepRecord,
)


@dataclass(frozen=True, slots=True)
class Command:
    """What was asked for; of settings their names alone, since a value may be a secret."""

    name: str
    inputs: tuple[str, ...]
    targets: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


class Recorder:
    """Listens to a run, passes on what it hears, and has the record in the end."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self._begun = time.time()
        self._lock = Lock()
        self._steps: list[StepRecord] = []
        self._warnings: list[str] = []
        self._retries = 0
        self._reasons: dict[tuple[str, str], str] = {}
        self._waited: set[tuple[str, str]] = set()
        self._artifacts: dict[tuple[str, str], ArtifactRecord] = {}

    def beside(self, listener: Listener) -> Listener:
        """Return a listener that notes what it hears, and passes it on."""

        def listen(event: Event) -> None:
            with self._lock:
                self._take(event)
            listener(event)

        return listen

    def _take(self, event: Event) -> None:
        match event:
            case StepStarted(step, image, reason):
                self._reasons[step, image] = reason
            case StepWaits(step, image):
                self._waited.add((step, image))
            case StepRetried():
                self._retries += 1
            case StepDone():
                self._steps.append(self._step(event))
            case Warned(message):
                self._warnings.append(message)
            case Placed(artifact):
                key = (artifact.image, artifact.target)
                known = self._artifacts.get(key, ArtifactRecord(image=key[0], target=key[1], outcome="made"))
                self._artifacts[key] = known.model_copy(update={**_placed(artifact), "failure": None})
            case ImageFailed(image, target, brief, details, hint, code):
                failure = Failure(brief=brief, details=details, hint=hint, code=code)
                self._fail(image, target, failure)

    def _step(self, event: StepDone) -> StepRecord:
        name = (event.step, event.image)
        return StepRecord(
            step=event.step,
            image=event.image,
            cached=event.cached,
            begun=event.begun or time.time() - event.seconds,
            seconds=event.seconds,
            machine=event.machine or socket.gethostname(),
            reason="" if event.cached else self._reasons.get(name, ""),
            waited=name in self._waited,
        )

    def _fail(self, image: str, target: str, failure: Failure) -> None:
        """Note a failure; that of a whole image, which has no target, stands at each of its artifacts."""
        keys = [key for key in self._artifacts if key[0] == image and target in {"", key[1]}] or [(image, target)]
        for one in keys:
            known = self._artifacts.get(one, ArtifactRecord(image=one[0], target=one[1], outcome="failed"))
            if known.outcome in {"failed", "missing"}:  # and not in its place, or left out
                self._artifacts[one] = known.model_copy(update={"outcome": "failed", "failure": failure})

    def expect(self, image: str, target: str, path: str, kernel: str) -> None:
        """Enter an artifact that is to be made: missing until it is in its place, or fails."""
        record = ArtifactRecord(image=image, target=target, outcome="missing", path=path, kernel=kernel)
        self._artifacts.setdefault((image, target), record)

    def skip(self, image: str, target: str, reason: str, code: int = ExitCode.CANNOT_BOOT) -> None:
        """Enter an artifact that was left out, why, and the exit code that this has alone."""
        failure = Failure(brief=reason, code=int(code))
        record = ArtifactRecord(image=image, target=target, outcome="skipped", failure=failure)
        self._artifacts.setdefault((image, target), record)

    def made_from(self, image: str, target: str, sources: Iterable[SourceFile]) -> None:
        """Enter what an artifact that is there was made from."""
        known = self._artifacts[image, target]
        self._artifacts[image, target] = known.model_copy(update={"sources": tuple(sources)})

    def end(self, code: int, error: ImagekitError | None = None) -> Run:
        """Return the record of a run that ends now, with this exit code."""
        return Run(
            command=self.command.name,
            inputs=self.command.inputs,
            targets=self.command.targets,
            settings=self.command.settings,
            begun=self._begun,
            ended=time.time(),
            code=code,
            failure=failure_of(error) if error else None,
            artifacts=tuple(self._artifacts.values()),
            steps=tuple(self._steps),
            warnings=tuple(self._warnings),
            retries=self._retries,
        )


def failure_of(error: ImagekitError) -> Failure:
    """Return an error as a record has it."""
    return Failure(brief=error.brief, details=error.details, hint=error.hint, code=int(error.exit_code))


def _placed(artifact: Artifact) -> dict[str, object]:
    """Return what is known of an artifact that is in its place."""
    return {
        "outcome": "cached" if artifact.cached else "made",
        "path": str(artifact.path),
        "companions": tuple(map(str, artifact.companions)),
        "digest": artifact.digest,
        "size": artifact.size,
        "on_disk": artifact.on_disk,
        "seconds": artifact.seconds,
    }
