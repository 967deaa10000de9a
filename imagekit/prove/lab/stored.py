"""A lab that was prepared: a folder, and what is known about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from imagekit.prove.lab.record import read_record


@dataclass(frozen=True)
class Lab:
    """A folder with Xen, dom0 and GRUBs.

    `digest` is one SHA-256 (hex) for all of them, `digests` that of each file, `versions` of each Debian package.
    """

    folder: Path
    digest: str
    versions: Mapping[str, str]
    digests: Mapping[str, str]

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

    @property
    def pv_grub(self) -> Path:
        """A GRUB that boots as a PV guest and reads menu.lst."""
        return self.folder / "pv-grub.bin"

    @property
    def pvh_grub(self) -> Path:
        """Debian's GRUB that boots as a PVH guest and reads grub.cfg."""
        return self.folder / "pvh-grub.bin"


def load(folder: Path) -> Lab | None:
    """Return the lab in a folder; None: there is none, or one of another revision, or files have other sizes."""
    record = read_record(folder)
    return Lab(folder, record.digest, record.versions, record.digests) if record else None
