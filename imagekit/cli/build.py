"""`imagekit build`."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagekit.cli import asked
from imagekit.cli import shared as farm
from imagekit.cli.after import After
from imagekit.cli.attest import SignWith, conclude, record
from imagekit.cli.console import (
    AsJson,
    Progress,
    Quiet,
    Shown,
    Verbose,
    Workers,
    say,
    settings,
    tell,
)
from imagekit.cli.recorded import expect, note_sources, recorded
from imagekit.cli.summary import Ended, finish, show, show_failures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imagekit.build import Built, Runner
    from imagekit.executor import Executor
    from imagekit.plan import Plan
    from imagekit.receipt import Receipt


def build(
    paths: asked.Paths,
    target: asked.Targets = None,
    output: asked.Out = None,
    sets: asked.Set = None,
    cmdline: asked.Cmdline = None,
    memory: asked.Memory = None,
    layout: asked.Layout = None,
    size: asked.Size = None,
    boot: asked.Boot = None,
    depfile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what was read, as a rule for make and ninja.")
    ] = None,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going", "-k", help="Build the rest when something fails; the end tells of all that did."
        ),
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Steps at a time.")] = os.cpu_count() or 1,
    workers: Annotated[
        Workers,
        typer.Option("--workers", help="What steps run in; a process that dies has its step run again."),
    ] = Workers.AUTO,
    prove: Annotated[
        bool,
        typer.Option(
            "--prove", help="Boot each artifact; exit 6 when one does not. A proof that is there counts."
        ),
    ] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="Upload and register what was made, as the recipe says: `publish`.")
    ] = False,
    provenance: Annotated[
        bool,
        typer.Option(
            "--provenance", help="Write sums, a statement of how it was made, and an SBOM beside each artifact."
        ),
    ] = False,
    sign_with: SignWith = None,
    store_url: farm.Url = None,
    trust: farm.Trusted = None,
    trust_unsigned: farm.Unsigned = False,
    store_key: farm.Writer = None,
    store_required: farm.Required = False,
    scheduler: farm.Scheduler = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the record of the run, JSON, for `report`.")
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the run's figures for Prometheus's node_exporter.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="As `imagekit plan`.")] = False,
    as_json: AsJson = False,
    progress: Shown = Progress.AUTO,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Make the artifacts of kernels and recipes; their paths on stdout.

    imagekit build app.xen --target ebs -o app.ebs
    """
    from imagekit.build import Runner  # noqa: PLC0415 -- --help need not import what builds
    from imagekit.cli.plan import show as show_plan  # noqa: PLC0415
    from imagekit.depfile import write_depfile  # noqa: PLC0415
    from imagekit.ed25519 import private_key  # noqa: PLC0415
    from imagekit.listeners import listening  # noqa: PLC0415
    from imagekit.prepare import prepare  # noqa: PLC0415

    wanted = asked.request(
        paths, target, output, sets, keep_going=keep_going,
        cmdline=cmdline, memory=memory, layout=layout, size=size, boot=boot,
    )  # fmt: skip
    store = farm.open_store(
        farm.wanted(store_url, trust, unsigned=trust_unsigned, required=store_required, writer=store_key)
    )
    if sign_with is not None:
        private_key(sign_with)  # before anything is made
    if dry_run:
        show_plan(wanted, store, as_json=as_json)
        return
    kind = "none" if quiet else progress.value
    silently = quiet or kind == "json"
    with recorded("build", wanted, report=report, metrics=metrics, quiet=silently) as recorder:
        with listening(kind, verbose=verbose > 0) as shown:  # type: ignore[arg-type]
            listener = recorder.beside(shown)
            runner = Runner(store, listener)
            with store.in_use(), farm.elsewhere(scheduler, runner):
                prepared = prepare(wanted, runner, os.environ)
                expect(recorder, prepared)
                if depfile is not None:
                    # Before the artifacts: a kill leaves no artifact without its dependencies.
                    write_depfile(depfile, prepared)
                ended = Ended(
                    _built(prepared.plan, runner, jobs, workers, keep_going=keep_going), prepared, keep_going
                )
                note_sources(recorder, ended.built, prepared, runner)
                trail = record(ended.built.artifacts, prepared, runner, wanted=provenance)
        after = After(prepared, runner, quiet=silently, keep_going=keep_going)
        good = list(ended.built.artifacts)
        if prove and not settings.draining:
            good = after.prove(good)
        receipts = after.publish(good) if publish and not settings.draining else []
        if sign_with is not None and not trail and not silently:
            tell("nothing is signed: --provenance writes what --sign-with signs")
        conclude(trail, sign_with)
        ended = ended._replace(later=after.failures)
        _report(ended, as_json=as_json, quiet=silently, receipts=receipts)
        if quiet and ended.failures:
            show_failures(ended.failures)
        finish(ended)


def _built(plan: "Plan", runner: "Runner", jobs: int, workers: Workers, *, keep_going: bool) -> "Built":
    """Make a plan's artifacts; a SIGTERM lets what runs end, where that is of use."""
    from imagekit.build import Terms, attempt, executor  # noqa: PLC0415
    from imagekit.executor import Threads  # noqa: PLC0415

    choose = executor(runner, jobs, workers.value)

    def chosen(steps: int) -> "Executor":
        made = choose(steps)
        settings.drains = keep_going or not isinstance(made, Threads)
        return made

    settings.drains = keep_going
    try:
        return attempt(plan, runner, chosen, Terms(keep_going, lambda: settings.draining))
    finally:
        settings.drains = False


def _report(ended: Ended, *, as_json: bool, quiet: bool, receipts: "Sequence[Receipt]" = ()) -> None:
    if not quiet:
        show(ended)
    if as_json:
        published = {"receipts": [receipt.to_json() for receipt in receipts]} if receipts else {}
        say(json.dumps({**ended.to_json(), **published}))
        return
    for artifact in ended.built.artifacts:
        say(str(artifact.path))
    for receipt in receipts:
        say(receipt.result)
