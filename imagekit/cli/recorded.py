"""The record that the command line keeps of a run, however it ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from imagekit.cli.console import state_dir, tell
from imagekit.errors import ExitCode, ImagekitError

if TYPE_CHECKING:
    from imagekit.build import Built, Runner
    from imagekit.plan import Output
    from imagekit.prepare import Prepared, Request
    from imagekit.run import Recorder, Run, SourceFile


@contextmanager
def recorded(
    name: str, wanted: "Request", *, report: Path | None, metrics: Path | None, quiet: bool
) -> Iterator["Recorder"]:
    """Lend the recorder of a run; keep the record when it has ended, and write the files that are asked for."""
    from imagekit.run import Command, Recorder  # noqa: PLC0415 -- --help need not import it

    settings = tuple(wanted.settings or ())
    recorder = Recorder(Command(name, tuple(map(str, wanted.paths)), tuple(wanted.targets), settings))
    try:
        yield recorder
    except ImagekitError as error:
        _after(recorder.end(error.exit_code, error), report, metrics, quiet=quiet)
        raise
    except typer.Exit as done:  # what failed is in the record already
        _after(recorder.end(done.exit_code), report, metrics, quiet=quiet)
        raise
    except BaseException:
        _after(recorder.end(ExitCode.BUILD_FAILED), report, metrics, quiet=quiet)
        raise
    write(recorder.end(ExitCode.DONE), report, metrics, quiet=quiet)


def _after(run: "Run", report: Path | None, metrics: Path | None, *, quiet: bool) -> None:
    """Write the files of a run that failed; what hinders that is told, and hides nothing."""
    try:
        write(run, report, metrics, quiet=quiet)
    except ImagekitError as error:
        tell(f"warning: {error.brief}")


def write(run: "Run", report: Path | None, metrics: Path | None, *, quiet: bool) -> None:
    """Keep a record, and write the files that are asked for."""
    from imagekit.place import unwritten  # noqa: PLC0415
    from imagekit.run import keep, write  # noqa: PLC0415
    from imagekit.run.metrics import exposition  # noqa: PLC0415

    if report is not None:
        from imagekit.report import complete  # noqa: PLC0415

        run = complete(run, state_dir())
    try:
        keep(run, state_dir())
    except OSError as error:
        if not quiet:
            tell(f"warning: no record of this run is kept: {error}")
    for path, content in ((report, run.to_bytes), (metrics, lambda: exposition(run))):
        if path is not None:
            try:
                write(path, content())
            except OSError as error:
                raise unwritten(error, path) from error


def expect(recorder: "Recorder", prepared: "Prepared") -> None:
    """Enter what is to be made, and what was left out."""
    from imagekit.inspect.kernels import summary  # noqa: PLC0415

    for output in prepared.plan.outputs:
        facts = prepared.facts.get(output.image)
        recorder.expect(output.image, output.target, str(output.path), summary(facts) if facts else "")
    for skipped in prepared.skipped:
        code = getattr(skipped.refusal, "exit_code", ExitCode.CANNOT_BOOT)
        recorder.skip(skipped.image, skipped.target, skipped.reason, code)


def note_sources(recorder: "Recorder", built: "Built", prepared: "Prepared", runner: "Runner") -> None:
    """Enter what each artifact was made from; of those that are there all is hashed."""
    there = {(artifact.image, artifact.target) for artifact in built.artifacts}
    for output in prepared.plan.outputs:
        if (output.image, output.target) in there:
            recorder.made_from(output.image, output.target, _sources(output, runner))


def _sources(output: "Output", runner: "Runner") -> Iterator["SourceFile"]:
    from imagekit.plan import Plan  # noqa: PLC0415
    from imagekit.run import SourceFile  # noqa: PLC0415

    for source in Plan((output,)).sources():
        yield SourceFile(path=str(source.path), digest=runner.source(source).digest)
