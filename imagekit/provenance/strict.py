"""JSON that others wrote, read so that no two readers see two things in it."""

import json
from pathlib import Path
from typing import Any, NoReturn

from imagekit.errors import VerificationError

LARGEST = 64 << 20
"""Bytes of the largest document that is read: an SBOM of 10,000 packages has 6 MiB."""


def parse(data: bytes, where: str) -> dict[str, Any]:
    """Return the object that a JSON text holds.

    VerificationError for what is none, and for what readers take differently: a key twice, NaN, bytes that are no
    UTF-8 (RFC 8259, sections 4, 6 and 8.1).
    """
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"{where} is no JSON that is read here", details=str(error)[:200]) from None
    if not isinstance(found, dict):
        raise VerificationError(f"{where} holds no JSON object", details=f"but {type(found).__name__}")
    return found


def read(path: Path) -> bytes:
    """Return a file's bytes; VerificationError for one that is not there, or too large."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        hint = "`imagekit build --provenance` writes it" if isinstance(error, FileNotFoundError) else ""
        raise VerificationError(f"{path} cannot be read", details=str(error.strerror), hint=hint) from error
    if len(data) > LARGEST:
        raise VerificationError(f"{path} is too large to be read", details=f"over {LARGEST} bytes")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON's")
