"""The raw disk in a file that wraps one: an AMI bundle's image, taken out for as long as it is needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from imagekit.errors import UsageError

_HEAD = 512  # bytes, of a manifest's XML


def is_bundle(path: Path) -> bool:
    """Tell whether a file is the manifest of an AMI bundle; False for what cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError:
        return False
    return head.startswith((b"<?xml", b"<manifest")) and b"<manifest" in head


@contextmanager
def unwrapped(path: Path, private_key: Path | None) -> Iterator[Path]:
    """Lend the raw disk in a file: the file itself, or what was taken out of it into a folder for the time being.

    UsageError when a bundle's private key is not named; VerificationError for what is damaged.
    """
    if not is_bundle(path):
        yield path
        return
    from imagekit.formats import ami  # noqa: PLC0415 -- an extra

    if private_key is None:
        raise UsageError(
            "a bundle's image is read with the private key that it was made with",
            hint="--private-key, or EC2_PRIVATE_KEY",
        )
    private = ami.private_key(ami.read_file(private_key))
    with TemporaryDirectory(prefix="imagekit-bundle-") as folder:
        image = Path(folder) / f"{path.name}.raw"
        ami.unbundle(path, image, private)
        yield image
