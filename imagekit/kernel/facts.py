"""What a kernel says of itself, as one value that prints, compares and travels as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from imagekit.errors import KernelError
from imagekit.plan import Json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Architecture = Literal["x86_64", "i386"]

_ADDRESSES = ("entry", "phys32_entry", "virt_base", "paddr_offset", "hypercall_page")


class Kind(StrEnum):
    """The doors of a kernel: by the notes it carries, never by its name."""

    PV = "pv"
    PVH = "pvh"
    BOTH = "both"
    NONE = "none"
    """An ELF file or a bzImage without any Xen entry."""


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """All that decides where a kernel boots.

    `bits` and `machine` are the ELF header's: "x86_64", "i386", or another machine's name ("aarch64").
    `compression` is what the file is wrapped in, outermost first; a bzImage's own packing is `payload`.

    `entry`, `virt_base`, `paddr_offset` and `hypercall_page` are PV's virtual addresses, `phys32_entry` is PVH's
    physical one; None where the kernel tells none. `guest_os` to `pae` are texts as the kernel tells them, "" for
    none; `features` are Xen's names, with "!" where one is required. `notes_from` says where it tells all this: in
    ELF notes, or in the section __xen_guest that came before them.

    `multiboot` and `multiboot2`: whether GRUB would find a header in the unwrapped file, a whole one, and have all
    that it asks for. `memory` is the bytes from the first loaded one to the last, 0 for none; `size` the file's
    bytes, `unpacked_size` those of the ELF file in it.
    """

    kind: Kind
    bits: Literal[32, 64]
    machine: str
    container: Literal["elf", "bzimage"]
    compression: tuple[str, ...]
    payload: str | None
    entry: int | None
    phys32_entry: int | None
    virt_base: int | None
    paddr_offset: int | None
    hypercall_page: int | None
    guest_os: str
    guest_version: str
    xen_version: str
    loader: str
    pae: str
    features: tuple[str, ...]
    notes_from: Literal["notes", "__xen_guest"] | None
    multiboot: bool
    multiboot2: bool
    memory: int
    size: int
    unpacked_size: int

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    @property
    def is_linux(self) -> bool:
        """Whether it is a Linux: by its form, which no other kernel has, or by what it says."""
        return self.container == "bzimage" or self.guest_os.startswith("linux")

    @property
    def architecture(self) -> Architecture:
        """The name that EC2 and Xen know it by; KernelError for what is no x86 kernel."""
        if self.machine == "x86_64":
            return "x86_64"
        if self.machine == "i386":
            return "i386"
        raise KernelError(f"a kernel for {self.machine}, where x86_64 or i386 is needed")

    def to_json(self) -> dict[str, Json]:
        """Return it as one JSON object. Addresses are hexadecimal texts: many readers round numbers above 2^53."""
        content: dict[str, Json] = asdict(self)
        for name in _ADDRESSES:
            if content[name] is not None:
                content[name] = hex(cast("int", content[name]))
        return {**content, "compression": list(self.compression), "features": list(self.features)}

    @classmethod
    def from_json(cls, content: Mapping[str, Json]) -> "KernelFacts":
        """Return the facts that `to_json` wrote; ValueError for a key or a value that it would not write."""
        known = {name: _address(value) if name in _ADDRESSES else value for name, value in content.items()}
        return _adapter().validate_json(json.dumps(known), strict=True)


@cache
def _adapter() -> "TypeAdapter[KernelFacts]":
    from pydantic import TypeAdapter  # noqa: PLC0415 -- 60 ms that reading a kernel can do without

    return TypeAdapter(KernelFacts)


def _address(value: Json) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str) or hex(number := int(value, 16)) != value:
        raise ValueError(f"{value!r:.60} is no address")
    return number
