"""Amazon's PV-GRUB kernels, the AKIs, in the regions that have them."""

from hashlib import sha256

from imagekit.rehearsal.cloud import Image
from imagekit.rehearsal.settings import PARAVIRTUAL_REGIONS

_OWNER = "137112412989"
_VERSIONS = ("1.03", "1.04", "1.05")
# The newest for whole disks, as Amazon has them; ids of all others are made up, the same in every rehearsal.
_REAL = {
    "x86_64": (
        "aki-5c21674b",
        "aki-59cc8239",
        "aki-70cb0e10",
        "aki-dc9ed9af",
        "aki-931fe3fc",
        "aki-7077ab11",
        "aki-73a50110",
        "aki-66506305",
        "aki-912fbcfd",
    ),
    "i386": (
        "aki-04206613",
        "aki-43cf8123",
        "aki-7a69931a",
        "aki-1c9fd86f",
        "aki-1419e57b",
        "aki-f975a998",
        "aki-17a40074",
        "aki-ba5665d9",
        "aki-7cd34110",
    ),
}


def kernels(region: str) -> dict[str, Image]:
    """Return the AKIs of a region, by id."""
    if region not in PARAVIRTUAL_REGIONS:
        return {}
    at = PARAVIRTUAL_REGIONS.index(region)
    found = {}
    for architecture, real in _REAL.items():
        for disk in ("hd0", "hd00"):
            for version in _VERSIONS:
                name = f"pv-grub-{disk}_{version}-{architecture}.gz"
                made_up = f"aki-{sha256(f'{region}/{name}'.encode()).hexdigest()[:8]}"
                known = real[at] if (disk, version) == ("hd0", _VERSIONS[-1]) else made_up
                found[known] = Image(
                    name,
                    architecture,
                    kind="kernel",
                    bundled=True,
                    id=known,
                    owner=_OWNER,
                    location=f"amazon/{name}",
                    description=f"PV-GRUB release {version}, {architecture}",
                    shared={"all"},
                    deprecation="2022-08-31T00:00:00.000Z",
                    created="2016-04-07T00:00:00.000Z",
                )
    return found
