"""A shared library that has all the names a program wants of it, and nothing behind them.

For a library that a program is linked with and never calls: what is called all the same ends the program (`ud2`).
ELF: the System V ABI and its AMD64 supplement; symbol versions: the LSB core specification, "Symbol Versioning".
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from imagekit.errors import ToolError

if TYPE_CHECKING:
    from elftools.elf.gnuversions import GNUVerNeedSection, GNUVerSymSection
    from elftools.elf.sections import Section, SymbolTableSection

_HEADER, _SEGMENT = 64, 56
_TRAP = b"\x0f\x0b\xcc\xcc"  # ud2
_CODE = _HEADER + 2 * _SEGMENT
_PT_LOAD, _PT_DYNAMIC, _READ_WRITE, _ALL, _PAGE = 1, 2, 6, 7, 4096
_DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SYMENT, _DT_SONAME = 4, 5, 6, 10, 11, 14
_DT_VERSYM, _DT_VERDEF, _DT_VERDEFNUM = 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD
_GLOBAL_FUNCTION = 0x12
_FIRST_VERSION = 2  # 0 is local, 1 the library itself


def absent(program: Path, name: str) -> bytes:
    """Return the library `name` (its soname) as `program` wants it to be.

    ToolError for a program that is no ELF file, or tells no versions of what it wants.
    """
    with program.open("rb") as stream:
        try:
            wanted = sorted(_wanted(ELFFile(stream), name))
        except ELFError as error:
            raise ToolError(
                f"{program.name} is not as in Debian 12",
                details=str(error),
                hint="the lab is made of Debian 12's packages",
            ) from error
    return _library(wanted, name)


def _wanted(elf: ELFFile, library: str) -> Iterator[tuple[str, str]]:
    """Yield the names that a program wants of a library, with their versions."""
    needed = cast("GNUVerNeedSection", _section(elf, ".gnu.version_r"))
    versions = cast("GNUVerSymSection", _section(elf, ".gnu.version"))
    symbols = cast("SymbolTableSection", _section(elf, ".dynsym"))
    numbers = {
        auxiliary.entry.vna_other: auxiliary.name
        for entry, auxiliaries in needed.iter_versions()
        if entry.name == library
        for auxiliary in auxiliaries
    }
    for number, symbol in enumerate(symbols.iter_symbols()):
        version = versions.get_symbol(number).entry["ndx"]
        if version in numbers:
            yield symbol.name, numbers[version]


def _section(elf: ELFFile, name: str) -> "Section":
    section = elf.get_section_by_name(name)
    if section is None:
        raise ELFError(f"it has no section {name}")
    return section


class _Strings:
    """A string table."""

    def __init__(self) -> None:
        self.data = bytearray(b"\0")

    def put(self, text: str) -> int:
        """Add a string and return where it is."""
        place = len(self.data)
        self.data += text.encode() + b"\0"
        return place


def _library(wanted: list[tuple[str, str]], name: str) -> bytes:
    strings = _Strings()
    versions = sorted({version for _, version in wanted})
    tables = {
        _DT_SYMTAB: _symbols([symbol for symbol, _ in wanted], strings),
        _DT_VERSYM: _numbers([versions.index(version) + _FIRST_VERSION for _, version in wanted]),
        _DT_VERDEF: _definitions([name, *versions], strings),
        _DT_HASH: _hashes([symbol for symbol, _ in wanted]),
    }
    soname = strings.put(name)
    tables[_DT_STRTAB] = bytes(strings.data)
    body, places = bytearray(_TRAP), {}
    for tag, table in tables.items():
        body += bytes(-(len(body) + _CODE) % 8)
        places[tag] = _CODE + len(body)
        body += table
    body += bytes(-(len(body) + _CODE) % 8)
    entries = [
        *places.items(), (_DT_SONAME, soname), (_DT_STRSZ, len(strings.data)), (_DT_SYMENT, 24),
        (_DT_VERDEFNUM, len(versions) + 1), (0, 0),
    ]  # fmt: skip
    dynamic = b"".join(struct.pack("<QQ", tag, value) for tag, value in entries)
    return _headers(_CODE + len(body), len(dynamic)) + bytes(body) + dynamic


def _headers(dynamic: int, length: int) -> bytes:
    """Return the ELF header and two segments: the whole file, and the dynamic section at its end."""
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = identity + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, _HEADER, 0, 0, _HEADER, _SEGMENT, 2, 0, 0, 0)
    # The loader writes nothing here but relocated addresses in the dynamic section.
    whole = struct.pack("<IIQQQQQQ", _PT_LOAD, _ALL, 0, 0, 0, dynamic + length, dynamic + length, _PAGE)
    own = struct.pack("<IIQQQQQQ", _PT_DYNAMIC, _READ_WRITE, dynamic, dynamic, dynamic, length, length, 8)
    return header + whole + own


def _symbols(names: list[str], strings: _Strings) -> bytes:
    """Return the symbol table: functions of section 1, all at the trap."""
    rows = (struct.pack("<IBBHQQ", strings.put(name), _GLOBAL_FUNCTION, 0, 1, _CODE, len(_TRAP)) for name in names)
    return bytes(24) + b"".join(rows)


def _numbers(versions: list[int]) -> bytes:
    """Return the version of each symbol; the first symbol is none."""
    return struct.pack(f"<{len(versions) + 1}H", 0, *versions)


def _definitions(names: list[str], strings: _Strings) -> bytes:
    """Return the version definitions; the first is the library itself (VER_FLG_BASE)."""
    rows = bytearray()
    for number, name in enumerate(names, 1):
        following = 28 if number < len(names) else 0
        rows += struct.pack("<HHHHIII", 1, int(number == 1), number, 1, _hash(name), 20, following)
        rows += struct.pack("<II", strings.put(name), 0)
    return bytes(rows)


def _hashes(names: list[str]) -> bytes:
    """Return the hash table: one bucket, whose chain holds all. It is read once for each name."""
    count = len(names)
    chain = [0, *range(2, count + 1), 0] if count else [0]
    return struct.pack(f"<II{1 + len(chain)}I", 1, count + 1, min(count, 1), *chain)


def _hash(name: str) -> int:
    """Return the System V ABI's hash of a name."""
    value = 0
    for byte in name.encode():
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high & 0xFFFFFFFF
    return value
