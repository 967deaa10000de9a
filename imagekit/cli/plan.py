"""`imagekit plan`."""

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from imagekit.cli import asked
from imagekit.cli import shared as farm
from imagekit.cli.console import AsJson, Verbose, say, tell
from imagekit.cli.summary import guest_notes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imagekit.prepare import Prepared, Request
    from imagekit.store import Store


def plan(
    paths: asked.Paths,
    target: asked.Targets = None,
    output: asked.Out = None,
    sets: asked.Set = None,
    cmdline: asked.Cmdline = None,
    memory: asked.Memory = None,
    layout: asked.Layout = None,
    size: asked.Size = None,
    boot: asked.Boot = None,
    store_url: farm.Url = None,
    trust: farm.Trusted = None,
    trust_unsigned: farm.Unsigned = False,
    store_key: farm.Writer = None,
    as_json: AsJson = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Print the steps of a build, each with run or cached, and why; no image is made.

    Commands of root.run run here, too, where the kernel comes of their tree: what follows depends on it.
    """
    wanted = asked.request(
        paths, target, output, sets, cmdline=cmdline, memory=memory, layout=layout, size=size, boot=boot
    )
    store = farm.open_store(farm.wanted(store_url, trust, unsigned=trust_unsigned, writer=store_key))
    show(wanted, store, as_json=as_json)


def show(wanted: "Request", store: "Store", *, as_json: bool) -> None:
    """Print the plan of a request."""
    from imagekit.build import Runner  # noqa: PLC0415
    from imagekit.listeners import aligned  # noqa: PLC0415
    from imagekit.prepare import prepare  # noqa: PLC0415

    with store.in_use():
        runner = Runner(store)
        prepared = prepare(wanted, runner, os.environ, making=False)
        planned = [*(pending.step for pending in prepared.pending), *runner.look(prepared.plan)]
    outputs = [
        *((one.image, target, str(path)) for one in prepared.pending for target, path in one.outputs),
        *((output.image, output.target, str(output.path)) for output in prepared.plan.outputs),
    ]
    notes = list(_notes(prepared))
    if as_json:
        names = ("image", "target", "path")
        artifacts = [dict(zip(names, output, strict=True)) for output in outputs]
        say(json.dumps({"steps": [asdict(step) for step in planned], "artifacts": artifacts, "notes": notes}))
        _finish(prepared)
        return
    rows = [
        (step.image, step.step, ",".join(step.targets), "cached" if step.cached else "run", step.reason)
        for step in planned
    ]
    say(aligned([("image", "step", "target", "state", "why"), *rows]))
    say("")
    say(aligned([("image", "target", "artifact"), *outputs]))
    for note in notes:
        tell(note)
    _finish(prepared)


def _finish(prepared: "Prepared") -> None:
    """Tell what cannot be built, where the request is to go on, and exit as that build would."""
    if prepared.failures:
        from imagekit.cli.summary import show_failures  # noqa: PLC0415
        from imagekit.failures import exit_code  # noqa: PLC0415

        show_failures(prepared.failures)
        raise typer.Exit(exit_code(prepared.failures))


def _notes(prepared: "Prepared") -> "Iterator[str]":
    """Yield what the user should know of the plan."""
    from imagekit.artifact import SUFFIX  # noqa: PLC0415

    yield from prepared.remarks
    for one in prepared.pending:
        yield f"{one.image}: the steps after {one.step.step} depend on the kernel that its tree will have"
    for name, image in prepared.images.items():
        if image.root.run and image.kernel is None:
            yield f"{name}: its commands (root.run) have run, or were cached: the kernel comes of their tree"
    yield from guest_notes(prepared.plan.outputs)
    for output in prepared.plan.outputs:
        if output.companions[SUFFIX].options.get("guestfs"):
            yield f"{output.image} for {output.target}: made by guestfs: no two builds are the same bytes"
