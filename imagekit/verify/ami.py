"""The image of an AMI bundle, taken out of it, and what the manifest says of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from imagekit.errors import UsageError, VerificationError
from imagekit.verify.check import Check, passed
from imagekit.verify.subject import Subject

_LARGEST = 10 << 30  # the root device of instance store


@contextmanager
def opened(subject: Subject, private_key: Path | None) -> Iterator[tuple[Check, Subject]]:
    """Lend the bundle's image, as the subject that the sidecar describes; every digest and the signature hold."""
    from imagekit.formats import ami  # noqa: PLC0415 -- an extra

    if private_key is None:
        raise UsageError(
            "a bundle's image is read with the private key that it was made with",
            hint="--private-key, or EC2_PRIVATE_KEY",
        )
    private = ami.private_key(ami.read_file(private_key))
    with TemporaryDirectory(prefix="imagekit-verify-") as folder:
        image = Path(folder) / f"{subject.path.name}.raw"
        found = ami.unbundle(subject.path, image, private)
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
