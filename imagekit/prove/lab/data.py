"""The files of our own that go into a lab."""

from hashlib import sha256
from importlib.resources import files


def data(name: str) -> bytes:
    """Return one file of the folder dom0/."""
    return (files("imagekit.prove.lab") / "dom0" / name).read_bytes()


def revision() -> str:
    """Return the SHA-256 (hex) of all that makes a lab what it is, its packages aside: this package's files."""
    package = files("imagekit.prove.lab")
    members = [*package.iterdir(), *(package / "dom0").iterdir()]
    whole = sha256()
    for member in sorted((member for member in members if member.is_file()), key=lambda member: member.name):
        whole.update(member.name.encode() + b"\0" + sha256(member.read_bytes()).digest())
    return whole.hexdigest()
