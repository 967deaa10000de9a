"""The figures of a run for Prometheus, in the text format that node_exporter's textfile collector reads.

https://prometheus.io/docs/instrumenting/exposition_formats/: a family is `# HELP`, `# TYPE`, then its samples;
labels are quoted, with backslash, quote and newline escaped. All are gauges: a file tells of one run, and what it
tells goes down again with the next one. No label is a path or an image, of which there are too many for a
time series each.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple, get_args

from imagekit.run.record import Outcome, Run

_PREFIX = "imagekit_build"


_Samples = Mapping[tuple[tuple[str, str], ...], float]


class _Family(NamedTuple):
    """One metric: labels (names and values) to a value."""

    name: str
    help: str
    samples: _Samples


def exposition(run: Run) -> bytes:
    """Return the file's content."""
    return "".join(map(_text, _families(run))).encode()


def _families(run: Run) -> Iterator[_Family]:
    yield _one("exit_code", "Exit code of the last run.", run.code)
    yield _one("begun_timestamp_seconds", "When the last run began, in seconds since 1970.", run.begun)
    yield _one("ended_timestamp_seconds", "When the last run ended, in seconds since 1970.", run.ended)
    yield _one("duration_seconds", "How long the last run took.", run.ended - run.begun)
    yield _steps(run)
    yield _seconds(run)
    yield _one("step_cache_hits", "Steps whose result was in the cache.", sum(step.cached for step in run.steps))
    yield _one("step_waits", "Steps that waited for another build.", sum(step.waited for step in run.steps))
    yield _one("step_retries", "How often a step was run again, since who ran it was gone.", run.retries)
    yield _artifacts(run)
    yield _bytes(run)
    yield _one("warnings", "Warnings of the last run.", len(run.warnings))
    info: _Samples = {(("command", run.command), ("machine", run.machine), ("version", run.version)): 1.0}
    yield _Family(f"{_PREFIX}_info", "What ran: 1.", info)


def _one(name: str, words: str, value: float) -> _Family:
    return _Family(f"{_PREFIX}_{name}", words, {(): value})


def _steps(run: Run) -> _Family:
    counts = Counter((step.step, "cached" if step.cached else "made") for step in run.steps)
    samples: _Samples = {
        (("step", name), ("outcome", outcome)): float(count) for (name, outcome), count in counts.items()
    }
    return _Family(f"{_PREFIX}_steps", "Steps by what became of them.", samples)


def _seconds(run: Run) -> _Family:
    sums: dict[str, float] = {}
    for step in run.steps:
        sums[step.step] = sums.get(step.step, 0.0) + step.seconds
    samples: _Samples = {(("step", name),): seconds for name, seconds in sums.items()}
    return _Family(f"{_PREFIX}_step_seconds", "Seconds in steps, those side by side added up.", samples)


def _artifacts(run: Run) -> _Family:
    counts = Counter(artifact.outcome for artifact in run.artifacts)
    samples: _Samples = {(("outcome", outcome),): float(counts[outcome]) for outcome in get_args(Outcome)}
    return _Family(f"{_PREFIX}_artifacts", "Artifacts by what became of them.", samples)


def _bytes(run: Run) -> _Family:
    there = [artifact for artifact in run.artifacts if artifact.outcome in {"made", "cached"}]
    samples: _Samples = {
        (("what", "length"),): float(sum(artifact.size for artifact in there)),
        (("what", "on_disk"),): float(sum(artifact.on_disk for artifact in there)),
    }
    return _Family(f"{_PREFIX}_artifact_bytes", "Bytes of the artifacts, and of what they take on disk.", samples)


def _text(family: _Family) -> str:
    lines = [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} gauge"]
    lines += [f"{family.name}{_labels(labels)} {value!r}" for labels, value in family.samples.items()]
    return "\n".join(lines) + "\n"


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
