"""What is known of a run's artifacts beside its events: proofs and receipts, by the digest of the bytes."""

from collections.abc import Iterable

from imagekit.proof import Proof
from imagekit.receipt import Receipt
from imagekit.run.record import ArtifactRecord, BootRecord, Made, Publication


def with_later(known: ArtifactRecord, proofs: Iterable[Proof], receipts: Iterable[Receipt]) -> ArtifactRecord:
    """Return a record with proofs and receipts that it does not have yet; a receipt is told as it is now."""
    boots = {(boot.way, boot.started): boot for boot in (*known.boots, *map(boot_of, proofs))}
    publications = {one.id: one for one in (*known.publications, *map(publication_of, receipts))}
    later = {"boots": tuple(boots.values()), "publications": tuple(publications.values())}
    return known.model_copy(update=later)


def boot_of(proof: Proof) -> BootRecord:
    """Return a proof as a record has it."""
    return BootRecord(
        way=proof.way,
        loader=proof.loader,
        booted=proof.booted,
        verdict=proof.verdict,
        why=proof.why,
        started=proof.started,
        seconds=float(sum(proof.seconds.values())),
        console=proof.console,
    )


def publication_of(receipt: Receipt) -> Publication:
    """Return a receipt as a record has it; what its uploader remembers stays out."""
    there = [one for one in receipt.resources if not one.gone]
    return Publication(
        id=receipt.id,
        region=receipt.region,
        state=receipt.state,
        result=receipt.result,
        rehearsed=receipt.rehearsed,
        resources=tuple(Made(kind=one.kind, id=one.id) for one in there),
    )
