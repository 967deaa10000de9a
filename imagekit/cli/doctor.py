"""`imagekit doctor`."""

import json
from dataclasses import asdict

from imagekit.cli.console import AsJson, cache_dir, say
from imagekit.errors import ToolError


def doctor(as_json: AsJson = False) -> None:
    """List each tool and library: its version, what it is for, what is missing and what brings it."""
    from imagekit.doctor import examine  # noqa: PLC0415 -- --help need not import it
    from imagekit.listeners import aligned  # noqa: PLC0415

    findings = examine(cache_dir())
    if as_json:
        say(json.dumps([asdict(finding) for finding in findings]))
    else:
        rows = [
            (finding.name, finding.version or "missing", finding.purpose, finding.remedy if not finding.ok else "")
            for finding in findings
        ]
        say(aligned([("tool", "version", "for", "brought by"), *rows]))
    missing = [finding.name for finding in findings if finding.needed and not finding.ok]
    if missing:
        raise ToolError(f"missing, and needed for every build: {', '.join(missing)}")
