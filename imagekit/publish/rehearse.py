"""The stand-in for AWS that `--rehearse` publishes to: `python -m imagekit.rehearsal`, a process on loopback."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from imagekit import command
from imagekit.errors import ToolError

_PATIENCE = 30.0  # seconds for it to come up
_MOST = 40  # calls of one kind in a row are one line; more lines than these are cut


@contextmanager
def standing_in(folder: Path, settings: Sequence[str] = ()) -> Iterator[Mapping[str, str]]:
    """Run it, with its blocks and its log in a folder, and lend what `Order.account` takes."""
    argv = ("-m", "imagekit.rehearsal", "--folder", str(folder), *settings)
    with command.running(sys.executable, *argv) as server:
        ready = server.first_line(_PATIENCE)
        if not ready:
            raise ToolError(
                "the rehearsal did not start",
                details=server.complaint(),
                hint="pip install 'imagekit[aws,rehearse]'",
            )
        said = json.loads(ready)
        yield {key: str(said[key]) for key in ("url", "certificate", "access", "secret")}


def calls(folder: Path) -> list[str]:
    """Return the calls that were made, one line for a run of equal ones."""
    path = folder / "calls.jsonl"
    lines: list[str] = []
    count, last = 0, ""
    entries = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for entry in [*sorted(entries, key=lambda entry: str(entry["region"])), None]:
        said = entry and f"{entry['region']} {entry['service']} {entry['action']}: {entry['status']}"
        if said == last:
            count += 1
            continue
        if last:
            lines.append(f"rehearsed: {last}" + (f" ({count} times)" if count > 1 else ""))
        count, last = 1, said or ""
    return lines[:_MOST] + ([f"rehearsed: and {len(lines) - _MOST} more"] if len(lines) > _MOST else [])
