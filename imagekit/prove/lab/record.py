"""lab.json: what a lab was made of, and the sizes and digests of its files."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import file_digest, sha256
from pathlib import Path

from imagekit.prove.lab.data import revision
from imagekit.prove.lab.variants import Variant

_NAME = "lab.json"


@dataclass(frozen=True, slots=True)
class Record:
    """Our revision, the packages' key, their versions, and per file its size (bytes) and SHA-256 (hex)."""

    revision: str
    key: str
    versions: Mapping[str, str]
    sizes: Mapping[str, int]
    digests: Mapping[str, str]

    @property
    def digest(self) -> str:
        """One SHA-256 (hex) over the files' digests."""
        lines = (f"{name} {digest}" for name, digest in sorted(self.digests.items()))
        return sha256("\n".join(lines).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write it into a lab's folder."""
        (folder / _NAME).write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")


def describe(folder: Path, variant: Variant, key: str, versions: Mapping[str, str]) -> Record:
    """Return the record of a lab's files in a folder."""
    sizes, digests = {}, {}
    for name in variant.files:
        with (folder / name).open("rb") as stream:
            digests[name] = file_digest(stream, "sha256").hexdigest()
        sizes[name] = (folder / name).stat().st_size
    return Record(revision(), key, dict(sorted(versions.items())), sizes, digests)


def read_record(folder: Path, variant: Variant) -> Record | None:
    """Return the record of a lab that is whole and of our revision, else None."""
    try:
        record = Record(**json.loads((folder / _NAME).read_text()))
        if record.revision != revision() or not _is_sound(record, variant):
            return None
        whole = all((folder / name).stat().st_size == record.sizes[name] for name in variant.files)
    except (OSError, ValueError, TypeError):
        return None
    return record if whole else None


def _is_sound(record: Record, variant: Variant) -> bool:
    """Tell whether what was read has the types that a Record says, and names the files of this lab."""
    return (
        _maps(record.versions, str)
        and _maps(record.sizes, int)
        and _maps(record.digests, str)
        and set(record.sizes) == set(record.digests) == set(variant.files)
    )


def _maps(told: object, to: type) -> bool:
    return isinstance(told, dict) and all(isinstance(value, to) for value in told.values())


def is_lab(folder: Path) -> bool:
    """Tell whether a folder is a lab of any revision, whole or not."""
    return (folder / _NAME).is_file()
