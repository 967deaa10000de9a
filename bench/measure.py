"""Time whole commands as the system saw them: seconds, peak memory of the largest process, bytes written.

Each run happens in a forked child of its own, whose /proc/self/io gathers what all its descendants wrote.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """One run: wall seconds, peak resident bytes of its largest process, bytes that it wrote."""

    seconds: float
    memory: int
    written: int


@dataclass(frozen=True)
class Figures:
    """The medians of several runs."""

    seconds: float
    memory: int
    written: int

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Figures":
        """Return the medians."""
        return cls(
            statistics.median(sample.seconds for sample in samples),
            int(statistics.median(sample.memory for sample in samples)),
            int(statistics.median(sample.written for sample in samples)),
        )


def told(figures: Figures, *, seconds: float | None = None, memory: int | None = None) -> str:
    """Return what is said of limits, in seconds and in bytes of memory: "at most 5 s: yes"; NO is looked for."""
    kept = [f"at most {seconds:g} s: {verdict(figures.seconds <= seconds)}"] if seconds else []
    kept += [f"at most {memory >> 20} MiB: {verdict(figures.memory <= memory)}"] if memory else []
    return ", ".join(kept)


def verdict(kept: bool) -> str:
    """Return yes, or NO."""
    return "yes" if kept else "NO"


def once(argv: Sequence[str], environment: Mapping[str, str]) -> Sample:
    """Run a command once and measure it; RuntimeError when it fails."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _measured(argv, environment, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(child, 0)
    if answer["status"]:
        raise RuntimeError(f"{' '.join(argv)} failed with {answer['status']}:\n{answer['stderr']}")
    return Sample(answer["seconds"], answer["memory"], answer["written"])


def rounds(
    commands: Mapping[str, tuple[Sequence[str], Callable[[], None]]], environment: Mapping[str, str], count: int
) -> dict[str, Figures]:
    """Run the commands in turn, A B C A B C, after one round that does not count; each after its preparation."""
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    for number in range(count + 1):
        for name, (argv, prepare) in commands.items():
            prepare()
            sample = once(argv, environment)
            if number:
                samples[name].append(sample)
    return {name: Figures.of(taken) for name, taken in samples.items()}


def _measured(argv: Sequence[str], environment: Mapping[str, str], pipe: int) -> None:
    before = _written()
    begun = time.perf_counter()
    done = subprocess.run(argv, env=dict(environment), capture_output=True, check=False)
    seconds = time.perf_counter() - begun
    answer = {
        "status": done.returncode,
        "stderr": done.stderr.decode(errors="replace")[-1000:],
        "seconds": seconds,
        "memory": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        "written": _written() - before,
    }
    os.write(pipe, json.dumps(answer).encode())
    sys.stdout.flush()
    os._exit(0)


def _written() -> int:
    with open("/proc/self/io") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("write_bytes"))
