"""What a build tells at its end: what was made, what was left out, what failed, and what is still to be made."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import typer

from imagekit.cli.console import settings, tell
from imagekit.errors import ExitCode, TerminatedError

if TYPE_CHECKING:
    from imagekit.build import Built
    from imagekit.failures import Failure
    from imagekit.plan import Output
    from imagekit.prepare import Prepared

_MANY = 40  # artifacts from which on only their number is told


class Ended(NamedTuple):
    """How a build ended: what came of its plan, and the plan; and whether it was to go on after failures."""

    built: "Built"
    prepared: "Prepared"
    keep_going: bool
    later: "Sequence[Failure]" = ()  # of proofs and publications

    @property
    def failures(self) -> "tuple[Failure, ...]":
        """All that failed, before there was a plan and after."""
        return (*self.prepared.failures, *self.built.failures, *self.later)

    def to_json(self) -> dict[str, object]:
        """Return what `--json` prints; failures and what is missing where there may be any."""
        skipped = [
            {"image": one.image, "target": one.target, "reason": one.reason} for one in self.prepared.skipped
        ]
        found: dict[str, object] = {
            "artifacts": [artifact.to_json() for artifact in self.built.artifacts],
            "skipped": skipped,
        }
        if self.keep_going or self.built.missing:
            found["failures"] = [failure.to_json() for failure in self.failures]
            found["missing"] = [_entry(output) for output in self.built.missing]
        return found


def show(ended: Ended) -> None:
    """Tell, on stderr, how a build ended."""
    from imagekit.listeners import table  # noqa: PLC0415 -- --help need not import it

    artifacts, failures, skipped = ended.built.artifacts, ended.failures, ended.prepared.skipped
    many = len(artifacts) > _MANY and not settings.verbosity
    if not many:
        for one in skipped:
            tell(f"{one.image}: not for {one.target}: {one.reason}")
        if artifacts:
            tell(table(artifacts))
        for note in guest_notes(ended.prepared.plan.outputs):
            tell(note)
    if failures:
        show_failures(failures)
    if many or failures or ended.built.missing:
        cached = sum(artifact.cached for artifact in artifacts)
        counts = {
            "made": len(artifacts) - cached,
            "cached": cached,
            "left out": len(skipped),
            "failed": len(failures),
            "not made": len(ended.built.missing),
        }
        tell(", ".join(f"{count} {what}" for what, count in counts.items() if count))


def guest_notes(outputs: "Iterable[Output]") -> "Iterator[str]":
    """Yield which artifacts boot as HVM guests, and why: for them the disk is another one."""
    from imagekit.artifact import SUFFIX  # noqa: PLC0415

    for one in outputs:
        boot = cast("Mapping[str, object]", one.companions[SUFFIX].options.get("boot", {}))
        if boot.get("guest") == "hvm":
            since = f", since {boot['since']}" if "since" in boot else ""
            yield f"{one.image} for {one.target}: boots as HVM, by GRUB in its boot sector{since}"


def finish(ended: Ended) -> None:
    """Exit as it ended: TerminatedError where a signal ended it early, else by the code of what failed."""
    from imagekit.failures import exit_code  # noqa: PLC0415

    if settings.draining:
        missing = [f"not made: {one.image} for {one.target}, {one.path}" for one in ended.built.missing]
        few = len(missing) <= _MANY or settings.verbosity
        raise TerminatedError(
            "terminated" + (f", {len(missing)} artifacts are not made" if missing else ""),
            details="\n".join(missing) if few else "",
            hint="the same command goes on from there" if missing else "",
        )
    if (code := exit_code(ended.failures)) is not ExitCode.DONE:
        raise typer.Exit(code)


def show_failures(failures: "Sequence[Failure]") -> None:
    """Tell of each failure in a table, and below it what was seen, and what to do about it."""
    rows = [(one.image, one.target, str(int(one.error.exit_code)), one.error.brief) for one in failures]
    heads = ("failed", "target", "exit", "why")
    if sys.stderr.isatty():
        _on_terminal(heads, rows)
    else:
        from imagekit.listeners import aligned  # noqa: PLC0415

        tell(aligned([heads, *rows], right=(2,)))
    for words in dict.fromkeys(_more(one) for one in failures if one.error.details or one.error.hint):
        tell(words)


def _more(failure: "Failure") -> str:
    """Return what the table has no room for."""
    what = f"{failure.image} for {failure.target}" if failure.target else failure.image
    hint = failure.error.hint and f"hint: {failure.error.hint}"
    return "\n  ".join(filter(None, (f"{what}:", *failure.error.details.splitlines(), hint)))


def _on_terminal(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 -- 70 ms, for terminals only
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = Table(*heads, box=None, header_style="bold")
    for row in rows:
        shown.add_row(*(Text(cell, style="red" if number == 0 else "") for number, cell in enumerate(row)))
    Console(stderr=True).print(shown)


def _entry(output: "Output") -> dict[str, str]:
    return {"image": output.image, "target": output.target, "path": str(output.path)}
