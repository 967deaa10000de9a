"""The files of a paper trail: how they are named, and how they are put beside an artifact."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from imagekit.place import unwritten
from imagekit.whole import write_whole

SUMS = ".SHA256SUMS"
STATEMENT = ".intoto.json"
PROOF = ".proof.intoto.json"
PUBLICATION = ".publication.intoto.json"
BUNDLE = ".intoto.jsonl"
"""in-toto/attestation, spec/v1/bundle.md: one envelope a line."""
SBOM = ".cdx.json"
"""CycloneDX's own ending: cyclonedx.org, "recognized file patterns"."""

STATEMENTS = (STATEMENT, PROOF, PUBLICATION)


def beside(main: Path, suffix: str) -> Path:
    """Return where the file with this ending lies."""
    return main.with_name(main.name + suffix)


def there(main: Path) -> Iterator[Path]:
    """Yield the statements that lie beside an artifact."""
    for suffix in STATEMENTS:
        path = beside(main, suffix)
        if path.is_file():
            yield path


def write_first(main: Path, data: bytes) -> Path:
    """Write the statement on a build; what was said and signed of another one is taken away."""
    path = beside(main, STATEMENT)
    if not path.exists() or path.read_bytes() != data:
        for suffix in (PROOF, PUBLICATION, BUNDLE):
            beside(main, suffix).unlink(missing_ok=True)
    return write(path, data)


def write(path: Path, data: bytes) -> Path:
    """Write a file whole or not at all, and return its path; the same bytes are left as they are."""
    with suppress(OSError):
        if path.stat().st_size == len(data) and path.read_bytes() == data:
            os.utime(path)
            return path
    try:
        write_whole(path, data)
    except OSError as error:
        raise unwritten(error, path) from error
    return path
