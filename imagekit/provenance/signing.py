"""All statements that lie beside an artifact, signed into one bundle; and what a bundle proves."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imagekit import ed25519 as keys
from imagekit.artifact import Sidecar, sidecar_path
from imagekit.errors import UsageError, VerificationError
from imagekit.provenance import dsse, files, strict, sums
from imagekit.provenance.statement import PROVENANCE, PUBLICATION, TEST_RESULT, Statement, listed, parse, sha256_of
from imagekit.verify import Check
from imagekit.verify.check import passed

_NAMES = {PROVENANCE: "provenance", TEST_RESULT: "proof", PUBLICATION: "publication"}


def sign(main: Path, key_file: Path) -> Path:
    """Sign the statements beside an artifact, and return the bundle's path: one envelope for each.

    UsageError where there are none. The same key gives the same bytes each time.
    """
    key = keys.private_key(key_file)
    found = list(files.there(main))
    if not found:
        raise UsageError(
            f"{main} has no statement beside it to sign", hint="imagekit build --provenance writes one"
        )
    name = keys.key_id(key.public_key())
    lines = []
    for path in found:
        data = strict.read(path)
        parse(data, str(path))
        lines.append(dsse.signed(data, key, name).to_line())
    return files.write(files.beside(main, files.BUNDLE), b"".join(lines))


@dataclass(frozen=True, slots=True)
class _Signed:
    """A statement that the key has signed, and the bytes that it was read from."""

    statement: Statement
    data: bytes
    where: str


def check(main: Path, key_file: Path) -> Iterator[Check]:
    """Yield what the signatures beside an artifact prove, by this public key; VerificationError for any lie."""
    bundle = files.beside(main, files.BUNDLE)
    signed = list(_signed(bundle, key_file))
    found = [one for one in signed if one.statement.kind == PROVENANCE]
    if len(found) != 1:
        raise VerificationError(
            f"{bundle} has {len(found) or 'no'} statement{'s' * (len(found) > 1)} of provenance by this key",
            hint="it is signed with another key, or its signature was taken away" if not found else "",
        )
    yield passed("signature", f"{len(signed)} of {bundle.name} by {key_file.name}")
    yield _check_provenance(main, found[0])
    for one in signed:
        if one is not found[0]:
            yield _check_other(main, one)
    yield from _check_plain(main, signed)


def _signed(bundle: Path, key_file: Path) -> Iterator[_Signed]:
    """Yield the statements of a bundle that the key has signed; those by other keys are passed over."""
    key = keys.public_key(key_file)
    if not bundle.exists():
        raise VerificationError(
            f"{bundle} is not there: nothing is signed", hint="imagekit attest --sign-with KEY"
        )
    for number, line in enumerate(strict.read(bundle).splitlines(), start=1):
        where = f"{bundle}:{number}"
        envelope = dsse.parse(line, where)
        if envelope.payload_type != dsse.IN_TOTO:
            raise VerificationError(
                f"{where} holds no in-toto statement", details=repr(envelope.payload_type)[:100]
            )
        if dsse.is_by(envelope, key):
            yield _Signed(parse(envelope.payload, where), envelope.payload, where)
        elif keys.key_id(key) in {keyid for keyid, _ in envelope.signatures}:
            raise VerificationError(f"{where} was changed after it was signed")


def _check_provenance(main: Path, signed: _Signed) -> Check:
    """Compare all files that the provenance names, and see that it names all that an artifact has."""
    statement, where = signed.statement, signed.where
    byproducts = listed(statement.predicate, "runDetails", "byproducts", where=where)
    names = dict(statement.subjects)
    for name, digest in (*statement.subjects, *(sha256_of(one, where) for one in byproducts)):
        sums.check_file(main.parent, name, digest, where)
    sidecar = Sidecar.read(main)
    needed = [main.name, sidecar_path(main).name]
    needed += [f"{main.name}{suffix}" for suffix in sidecar.companions] if sidecar else []
    lacking = [name for name in needed if name not in names]
    if lacking:
        raise VerificationError(f"{where} says nothing of {', '.join(lacking)}")
    return passed("provenance", f"SHA-256 of {len(names) + len(byproducts)} files, as {where} tells")


def _check_other(main: Path, signed: _Signed) -> Check:
    statement = signed.statement
    if dict(statement.subjects).get(main.name) != sums.sha256(main):
        raise VerificationError(f"{signed.where} is about another {main.name}")
    kind = _NAMES.get(statement.kind, statement.kind)
    told = statement.predicate.get("result") if statement.kind == TEST_RESULT else "about these bytes"
    if told == "FAILED":
        raise VerificationError(f"{signed.where} tells that {main.name} does not boot")
    return passed(kind, f"{told}, as {signed.where} tells")


def _check_plain(main: Path, signed: list[_Signed]) -> Iterator[Check]:
    """What lies beside as plain JSON is what was signed."""
    known = {one.data for one in signed}
    for path in files.there(main):
        if strict.read(path) not in known:
            raise VerificationError(f"{path} is not what was signed", hint="imagekit attest signs it again")
        yield passed(path.name, "as it was signed")


def check_sums(main: Path) -> Iterator[Check]:
    """Yield the check of a SHA256SUMS beside an artifact, where there is one."""
    path = files.beside(main, files.SUMS)
    if path.exists():
        yield passed(path.name, f"{sums.check(path, main.name)} files")
