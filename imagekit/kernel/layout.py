"""The layouts of an ELF file's headers, by pyelftools: for both classes and both byte orders.

Format: System V ABI, chapter 4 (`elf(5)`).
"""

from typing import Any, Literal

from imagekit.errors import KernelError
from imagekit.kernel.stream import Readable

_CLASSES: dict[int, Literal[32, 64]] = {1: 32, 2: 64}
_ORDERS: dict[int, Literal["little", "big"]] = {1: "little", 2: "big"}
_CLASS, _ORDER, _VERSION = 4, 5, 6  # places in the file


class Layout:
    """How this file's headers are laid out; KernelError for a class or an order that there is not.

    `file`, `segment` and `section` are pyelftools' descriptions of the three headers, for `parsed`.
    """

    def __init__(self, data: Readable) -> None:
        from elftools.elf.structs import ELFStructs  # noqa: PLC0415 -- 40 ms that only a kernel's reader should pay

        ident = bytes(data[: _VERSION + 1]).ljust(_VERSION + 1, b"\0")
        if ident[_CLASS] not in _CLASSES or ident[_ORDER] not in _ORDERS or ident[_VERSION] != 1:
            seen = ident[_CLASS:].hex(" ")
            raise KernelError("an ELF file with a damaged header", details=f"its class, order and version: {seen}")
        self.bits, self.order = _CLASSES[ident[_CLASS]], _ORDERS[ident[_ORDER]]
        structs = ELFStructs(little_endian=self.order == "little", elfclass=self.bits)
        structs.create_basic_structs()
        structs.create_advanced_structs()
        self.file, self.segment, self.section = structs.Elf_Ehdr, structs.Elf_Phdr, structs.Elf_Shdr


def parsed(struct: Any, data: Readable, at: int) -> Any:  # noqa: ANN401 -- pyelftools makes its types as it runs
    """Return the header at a place, by the names of elf(5); KernelError if the file ends in it."""
    from elftools.construct import ConstructError  # noqa: PLC0415 -- as above

    try:
        return struct.parse(bytes(data[at : at + struct.sizeof()]))
    except ConstructError as error:
        raise KernelError(
            "an ELF file that is cut short",
            details=f"the file ends at byte {len(data)}, in a header that begins at {at}",
            hint="fetch or build the file again",
        ) from error
