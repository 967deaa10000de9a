"""in-toto statements: in-toto/attestation, spec/v1 (statement, resource_descriptor, digest_set), version 1.1."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from imagekit.errors import VerificationError
from imagekit.plan import Json
from imagekit.provenance import strict

TYPE = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
PUBLICATION = "urn:imagekit:publication:v1"
"""Ours: docs/reference/provenance.md."""

Resource = dict[str, Json]
"""A ResourceDescriptor."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Statement:
    """What is said (`kind`, the predicateType, and its `predicate`) of the subjects: pairs of (name, SHA-256)."""

    kind: str
    subjects: tuple[tuple[str, str], ...]
    predicate: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Return it as JSON, sorted keys, one line at the end: the bytes that are signed."""
        return to_bytes(
            {
                "_type": TYPE,
                "subject": [resource(name, sha256=digest) for name, digest in self.subjects],
                "predicateType": self.kind,
                "predicate": self.predicate,
            }
        )


def to_bytes(content: Mapping[str, Json]) -> bytes:
    """Return a document's bytes; the same content gives the same ones."""
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def resource(name: str, *, uri: str = "", sha256: str = "", **digests: str) -> Resource:
    """Return the descriptor of a resource, by its name and digests; what is empty is left out."""
    found = {"sha256": sha256, **digests}
    set_ = {algorithm: digest for algorithm, digest in found.items() if digest}
    return {"name": name, **({"uri": uri} if uri else {}), **({"digest": set_} if set_ else {})}


def file_uri(name: str) -> str:
    """Return a relative reference as a URI (RFC 3986, section 4.2) for a path, which may be relative."""
    return "file:" + quote(os.fsencode(name), safe="/._~-+@,=")


def parse(data: bytes, where: str) -> Statement:
    """Return a statement; VerificationError for what is none, or names a subject twice, or one without SHA-256."""
    content = strict.parse(data, where)
    if content.get("_type") != TYPE:
        raise VerificationError(f"{where} is no in-toto statement", details=f"_type {content.get('_type')!r:.80}")
    kind, predicate, subject = (content.get(key) for key in ("predicateType", "predicate", "subject"))
    if not isinstance(kind, str) or not isinstance(predicate, dict) or not isinstance(subject, list):
        raise VerificationError(f"{where} is no whole in-toto statement")
    subjects = tuple(sha256_of(one, where) for one in subject)
    if len({name for name, _ in subjects}) != len(subjects):
        raise VerificationError(f"{where} names a subject twice")
    if not subjects:
        raise VerificationError(f"{where} is about nothing")
    return Statement(kind, subjects, predicate)


def sha256_of(found: object, where: str) -> tuple[str, str]:
    """Return (name, SHA-256) of a descriptor; VerificationError where it lacks one of them."""
    name = found.get("name") if isinstance(found, dict) else None
    digests = found.get("digest") if isinstance(found, dict) else None
    digest = digests.get("sha256") if isinstance(digests, dict) else None
    if not isinstance(name, str) or not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise VerificationError(f"{where} has a file without a name or a SHA-256", details=f"{found!r:.100}")
    return name, digest


def listed(predicate: Mapping[str, Any], *keys: str, where: str) -> Sequence[Mapping[str, Any]]:
    """Return the list of objects that lies in a predicate under these keys; VerificationError for what is none."""
    found: Any = predicate
    for key in keys:
        found = found.get(key, {}) if isinstance(found, dict) else None
    found = found or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise VerificationError(f"{where}: {'.'.join(keys)} is no list of objects")
    return found
