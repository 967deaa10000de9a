"""Where records of runs lie: runs/<time>-<pid>.json below the state folder, the newest of them kept."""

import os
import time
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from imagekit.errors import UsageError
from imagekit.run.record import SCHEMA, Run
from imagekit.whole import write_whole

MOST_KEPT = 50
"""How many records are kept."""

_LARGEST = 256 << 20  # bytes of a record that is read


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; its folder is made. OSError as it comes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)


def keep(run: Run, state: Path) -> Path:
    """Keep a record, and return where it lies; the oldest ones go. OSError when that cannot be."""
    folder = _folder(state)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    began = time.strftime("%Y%m%dT%H%M%S", time.gmtime(run.begun))
    path = folder / f"{began}.{int(run.begun % 1 * 1e6):06}-{os.getpid()}.json"
    write(path, run.to_bytes())
    for old in sorted(folder.glob("*.json"))[:-MOST_KEPT]:
        with suppress(FileNotFoundError):  # another run was here
            old.unlink()
    return path


def latest(state: Path) -> Path:
    """Return where the newest record lies; UsageError when there is none."""
    found = max(_folder(state).glob("*.json"), default=None)
    if found is None:
        raise UsageError("no run is recorded yet", hint="`imagekit build` keeps a record of each run")
    return found


def read(path: Path) -> Run:
    """Read a record; UsageError when there is none, or it is none of this version."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read", details=error.strerror or "") from error
    if len(content) > _LARGEST:
        raise UsageError(f"{path} is too large for the record of a run", details=f"over {_LARGEST} bytes")
    try:
        return Run.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        details = f"{where}: {first['msg']}"
        hint = "`imagekit build --report` writes them"
        raise UsageError(f"{path} is no record of a run ({SCHEMA})", details=details, hint=hint) from None


def _folder(state: Path) -> Path:
    return state / "runs"
