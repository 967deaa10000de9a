"""The image of an AMI bundle, taken out of it, and what the manifest says of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from imagekit.errors import VerificationError
from imagekit.unwrap import unwrapped
from imagekit.verify.check import Check, passed
from imagekit.verify.subject import Subject

_LARGEST = 10 << 30  # the root device of instance store


@contextmanager
def opened(subject: Subject, private_key: Path | None) -> Iterator[tuple[Check, Subject]]:
    """Lend the bundle's image, as the subject that the sidecar describes; every digest and the signature hold."""
    from imagekit.formats.ami.manifest import from_xml  # noqa: PLC0415 -- an extra

    with unwrapped(subject.path, private_key) as image:
        found = from_xml(subject.path.read_bytes()).manifest
        if subject.claims is not None and found.machine.architecture != subject.claims.architecture:
            raise VerificationError(
                "manifest and sidecar differ in the architecture",
                details=f"{found.machine.architecture}, and the sidecar says {subject.claims.architecture}",
            )
        seen = f"{len(found.parts)} parts of {found.bundled_size} bytes, signed, for account {found.user}"
        yield passed("bundle", seen), replace(subject, path=image, length=found.size)


def check_ami(subject: Subject) -> Iterator[Check]:
    """Check that instance store has room for the image."""
    if subject.length > _LARGEST:
        raise VerificationError(
            "instance store has no room for it", details=f"{subject.length} bytes; it has 10 GiB at most"
        )
    yield passed("instance store", f"{subject.length} bytes of 10 GiB at most")
