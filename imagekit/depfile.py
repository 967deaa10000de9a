"""The dependency file of a build, for make and ninja: artifacts, and all that they are made from."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from imagekit.errors import UsageError
from imagekit.place import unwritten
from imagekit.prepare import Prepared
from imagekit.sparse import walk
from imagekit.whole import write_whole


def write_depfile(path: Path, prepared: Prepared) -> None:
    """Write the rule; each dependency is a target of its own, so that a removed one does not stop make."""
    sources = list(dict.fromkeys(_read(prepared)))
    files = [str(file) for output in prepared.plan.outputs for file, _ in output.files()]
    if os.path.realpath(path) in {os.path.realpath(file) for file in (*sources, *files)}:
        raise UsageError(f"--depfile {path} names a file that the build reads or makes")
    rule = " ".join(escaped(str(output.path)) for output in prepared.plan.outputs) + ":"
    lines = [" \\\n ".join((rule, *map(escaped, sources)))]
    lines += [f"{escaped(source)}:" for source in sources]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # as for the artifact, which comes after it
        write_whole(path, os.fsencode("\n".join(lines) + "\n"))
    except OSError as error:
        raise unwritten(error, path) from error


def _read(prepared: Prepared) -> Iterator[str]:
    yield from map(str, prepared.recipes)
    for source in prepared.plan.sources():
        yield short(source.path)
        if source.path.is_dir():
            entries = walk(source.path, every=source.kept)
            yield from (short(Path(entry.path)) for entry in entries if entry.kind in {"dir", "file", "exec"})


def short(path: Path) -> str:
    """Return a path as make's own rules are likely to name it: relative where it lies below here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def escaped(name: str) -> str:
    """Return a name as gcc writes it: make takes a backslash for itself, but before what it quotes."""
    quoted = re.sub(r"(\\*)([ \t#:])", lambda match: f"{2 * match[1]}\\{match[2]}", name)
    return quoted.replace("$", "$$")
