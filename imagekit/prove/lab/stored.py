"""A lab that was prepared: a folder, and what is known about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from imagekit.prove.lab.record import read_record
from imagekit.prove.lab.variants import PLAIN, Variant


@dataclass(frozen=True)
class Lab:
    """A folder with Xen and dom0, and what else its variant has.

    `digest` is one SHA-256 (hex) for all of them, `digests` that of each file, `versions` of each Debian package.
    """

    folder: Path
    digest: str
    versions: Mapping[str, str]
    digests: Mapping[str, str]
    variant: Variant

    def damage(self) -> str:
        """Hash all files and return the name of one that is not what was made, or ""."""
        for name, digest in self.digests.items():
            with (self.folder / name).open("rb") as file:
                if file_digest(file, "sha256").hexdigest() != digest:
                    return name
        return ""

    @property
    def xen(self) -> Path:
        """The hypervisor, which boots by Multiboot."""
        return self.folder / "xen"

    @property
    def vmlinux(self) -> Path:
        """dom0's kernel, an ELF file."""
        return self.folder / "vmlinux"

    @property
    def dom0(self) -> Path:
        """dom0's initramfs."""
        return self.folder / "dom0.img"


def load(folder: Path, variant: Variant = PLAIN) -> Lab | None:
    """Return the lab in a folder; None: there is none, or one of another revision, or files have other sizes."""
    record = read_record(folder, variant)
    return Lab(folder, record.digest, record.versions, record.digests, variant) if record else None
