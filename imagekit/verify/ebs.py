"""What EBS wants of an image beyond its being right: whole GiB, and the list of the blocks to upload."""

from collections.abc import Iterator

from imagekit.errors import VerificationError
from imagekit.verify.check import Check, passed
from imagekit.verify.subject import Subject

_GIB = 1 << 30


def check_ebs(subject: Subject) -> Iterator[Check]:
    """Check the volume's size, and that there is a block list; whether it is true, the digest's check tells."""
    if not subject.length or subject.length % _GIB:
        raise VerificationError(
            "an EBS volume is a whole number of GiB", details=f"{subject.path.name} has {subject.length} bytes"
        )
    seen = f"{subject.length // _GIB} GiB"
    if subject.claims is not None:
        if subject.claims.blocks is None:
            raise VerificationError("the sidecar lists no blocks, and an upload to EBS goes by that list")
        seen += f", {len(subject.claims.blocks.blocks)} blocks to upload"
    yield passed("EBS", seen)
