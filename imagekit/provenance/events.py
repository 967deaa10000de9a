"""Statements on what became of an artifact, proofs and publications: they cite the records by digest."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from imagekit.plan import Json
from imagekit.proof import Proof
from imagekit.provenance import files, sums
from imagekit.provenance.statement import PUBLICATION, TEST_RESULT, Statement, resource
from imagekit.receipt import PUBLISHED, Receipt


def write_proof(main: Path, proof: Proof) -> Path:
    """Write the statement on a proof beside an artifact, and return its path."""
    return files.write(files.beside(main, files.PROOF), of_proof(main, proof).to_bytes())


def write_publication(main: Path, receipts: Iterable[Receipt]) -> Path | None:
    """Write the statement on publications beside an artifact; None where nothing of it is published."""
    published = [one for one in receipts if one.state == PUBLISHED]
    if not published:
        return None
    return files.write(files.beside(main, files.PUBLICATION), of_publications(main, published).to_bytes())


def of_proof(main: Path, proof: Proof) -> Statement:
    """Return the statement on a proof: in-toto/attestation, spec/predicates/test-result.md, version 0.1."""
    name = f"boot by {proof.way}"
    result = "FAILED" if not proof.booted else "WARNED" if proof.warnings else "PASSED"
    tests = {"PASSED": "passedTests", "WARNED": "warnedTests", "FAILED": "failedTests"}
    lists: dict[str, Json] = {key: [name] if key == tests[result] else [] for key in tests.values()}
    record = resource(f"proofs/{proof.key}.json", sha256=_sha256(proof.to_json()))
    predicate: dict[str, Json] = {
        "result": result,
        "configuration": [
            {**record, "mediaType": "application/json", "annotations": _told(proof)},
            resource("lab", sha256=proof.lab),
        ],
        **lists,
    }
    return Statement(TEST_RESULT, ((main.name, sums.sha256(main)),), predicate)


def of_publications(main: Path, receipts: Iterable[Receipt]) -> Statement:
    """Return the statement on publications: docs/reference/provenance.md, urn:imagekit:publication:v1."""
    published: list[Json] = [
        {
            "receipt": resource(f"receipts/{one.id}.json", sha256=_sha256(one.to_json())),
            "target": one.target,
            "region": one.region,
            "result": one.result,
            "resources": [
                {"kind": made.kind, "id": made.id, "region": made.region}
                for made in one.resources
                if not made.gone
            ],
            "proof": one.proof,
            "rehearsed": one.rehearsed,
            "begun": one.begun,
            "ended": one.ended,
        }
        for one in sorted(receipts, key=lambda one: (one.region, one.id))
    ]
    return Statement(PUBLICATION, ((main.name, sums.sha256(main)),), {"publications": published})


def _told(proof: Proof) -> dict[str, Json]:
    """Return what a proof says, without the console; field names as in-toto wants those of others."""
    told = {
        "disk": proof.disk,
        "way": proof.way,
        "loader": proof.loader,
        "verdict": proof.verdict,
        "expected": proof.expected,
        "started": proof.started,
    }
    return {f"imagekit_{name}": value for name, value in told.items()}


def _sha256(content: Mapping[str, Json]) -> str:
    """Return the SHA-256 of a record's file, as `imagekit.proof` and `imagekit.receipt` write it."""
    return hashlib.sha256((json.dumps(content, indent=1, sort_keys=True) + "\n").encode()).hexdigest()
