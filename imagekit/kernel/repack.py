"""A bzImage's ELF file, packed by gzip: the one form that every loader unpacks.

A distribution packs its kernel's payload as it likes (Debian 12: its own by xz, the one for clouds by lz4), and
PV-GRUB knows neither lz4 nor zstd (`imagekit.kernel.boots`). A gzipped ELF file is the same kernel without Linux's
own real-mode start, which no Xen guest uses.
"""

import gzip
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from imagekit.kernel.bzimage import unpack_payload
from imagekit.kernel.facts import KernelFacts
from imagekit.kernel.read import mapped
from imagekit.kernel.stream import chunks
from imagekit.kernel.wrapping import LIMIT, unpack
from imagekit.plan import Input, Json

_LEVEL = 6


def can_repack(facts: KernelFacts) -> bool:
    """Tell whether there is an ELF file to take out: whether this is a bzImage."""
    return facts.container == "bzimage"


def repacked(facts: KernelFacts) -> KernelFacts:
    """Return what a bzImage would be, packed anew; all but its `size`, which shows when it is."""
    return replace(facts, container="elf", payload=None, compression=("gzip",))


def write_repacked(inputs: Mapping[str, Input], out: Path, _options: Mapping[str, Json]) -> None:
    """Write a bzImage's ELF file, packed by gzip. A step function; its input is `kernel`."""
    with mapped(inputs["kernel"].path) as data:
        image, _ = unpack(data)
        elf, _ = unpack_payload(image, LIMIT)
        with out.open("wb") as file, gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
            for chunk in chunks(elf):
                packed.write(chunk)
