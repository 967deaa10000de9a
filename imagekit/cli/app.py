"""The program: its commands, its signals, and the one place where an error becomes words and an exit code."""

import signal
import sys
import traceback
from types import FrameType
from typing import Annotated, NoReturn

import typer
from typer.core import TyperGroup

from imagekit import __version__
from imagekit.cli import (
    attest,
    build,
    bundle,
    cache,
    convert,
    doctor,
    inspect,
    keys,
    plan,
    prove,
    publish,
    receipts,
    report,
    rules,
    schema,
    shell,
    targets,
    unbundle,
    verify,
    worker,
)
from imagekit.cli.console import complain, settings
from imagekit.command import stop_children
from imagekit.errors import ExitCode, ImagekitError, InterruptedByUser, TerminatedError


class _Plainly(TyperGroup):
    """Tells a value that is none of an option's in the words of the other options."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Run the command; typer puts words of the library that it checks values by before its own."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


app = typer.Typer(
    name="imagekit",
    cls=_Plainly,
    rich_markup_mode=None,  # plain help: it need not import rich
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    epilog="Exit codes: "
    + " · ".join(f"{code.value} {code.meaning}" for code in ExitCode)
    + ". The manual: man imagekit, or the docs folder.",
)
app.command("build")(build.build)
app.command("plan")(plan.plan)
app.command("prove")(prove.prove)
app.command("publish")(publish.publish)
app.command("verify")(verify.verify)
app.command("attest")(attest.attest)
app.command("inspect")(inspect.inspect)
app.command("shell")(shell.shell)
app.command("report")(report.report)
app.command("make-rules")(rules.make_rules)
app.command("convert")(convert.convert)
app.command("bundle")(bundle.bundle)
app.command("unbundle")(unbundle.unbundle)
app.command("worker")(worker.worker)
app.command("targets")(targets.targets)
app.command("doctor")(doctor.doctor)
app.command("schema")(schema.schema)
app.add_typer(cache.app, name="cache")
app.add_typer(receipts.app, name="receipts")
app.add_typer(keys.app, name="keys")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"imagekit {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 -- its callback acts
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell the version and end.")
    ] = False,
) -> None:
    """From a Xen kernel to an image that boots, for every Xen cloud.

    imagekit build app.xen --target ebs
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(ExitCode.USAGE)


def run() -> NoReturn:
    """Run the program and exit."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGHUP, _hang_up)  # the terminal was closed
    try:
        app()
        code = ExitCode.DONE
    except ImagekitError as error:
        complain(error)
        code = error.exit_code
        if settings.verbosity > 1:
            traceback.print_exc()
    except Exception as error:  # noqa: BLE001 -- the last resort: a fault of ours, told without a traceback
        brief = f"imagekit has a fault: {type(error).__name__}: {error}"
        complain(ImagekitError(brief, hint="-vv shows where; please report it"))
        code = ExitCode.BUILD_FAILED
        if settings.verbosity > 1:
            traceback.print_exc()
    sys.exit(code)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    _end(InterruptedByUser("interrupted"))


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    if settings.drains and not settings.draining:
        settings.draining = True
    else:
        _end(TerminatedError("terminated"))


def _hang_up(_signal: int, _frame: FrameType | None) -> None:
    _end(TerminatedError("terminated"))


def _end(why: InterruptedByUser) -> None:
    """End what runs; further signals say nothing new while it is swept up, which is a matter of a moment."""
    if not settings.ending:
        settings.ending = True
        stop_children()
        raise why
