"""The values that keys of a recipe take, each with the JSON Schema that refuses what it refuses."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

_T = TypeVar("_T")

KIB, MIB = 1 << 10, 1 << 20
LARGEST = 9999 << 40
"""Bytes; no cloud has a disk near it, and every tool can count to it."""

MBR_LARGEST = 2 << 40
"""Bytes that an MBR can count: 2^32 sectors."""

_LEAST_MEMORY = 4 * MIB

# unit -> its bytes, and how many digits may stand before it: enough, and never much beyond LARGEST
_UNITS = {
    "B": (1, 16),
    "KiB": (1 << 10, 13),
    "MiB": (1 << 20, 10),
    "GiB": (1 << 30, 7),
    "TiB": (1 << 40, 4),
}


def _any_case(unit: str) -> str:
    return "".join(f"[{letter.upper()}{letter.lower()}]" for letter in unit)


_TEXTS = "|".join(f"[0-9]{{1,{digits}}} *{_any_case(unit)}" for unit, (_, digits) in _UNITS.items())
_TEXT = f"[0-9]{{1,16}}|{_TEXTS}"
_SIZE = re.compile(_TEXT)
_UNIT = re.compile(r"([0-9]+) *([a-z]*)", re.IGNORECASE)


def parse_size(value: object) -> int:
    """Return a size in bytes: a number, or a text such as "64MiB"; ValueError for what is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not _SIZE.fullmatch(value):
        raise ValueError('a size is a number of bytes, or a text like "64MiB" or "2GiB"')
    number, unit = _UNIT.findall(value)[0]
    factors = {name.lower(): factor for name, (factor, _) in _UNITS.items()}
    return int(number) * factors[unit.lower() or "b"]


def _auto(value: object) -> object:
    if value is None:
        raise ValueError('"auto" leaves a size to imagekit')
    return None if value == "auto" else value


def _number(value: object) -> object:
    if isinstance(value, bool):  # which a literal 0 would take for one
        raise ValueError("no number")  # noqa: TRY004 -- pydantic's
    return value


def _whole_kib(value: int) -> int:
    if value % KIB:
        raise ValueError("a disk or a file system is of whole KiB")
    return value


def _enough(value: int) -> int:
    if value < _LEAST_MEMORY:
        # What was perhaps meant, where it was given without a unit.
        hint = f"{value}MiB" if _LEAST_MEMORY <= value * MIB <= 1 << 36 else "64MiB"
        raise PydanticCustomError(
            "too_small",
            "a guest takes 4 MiB at least, and a number without a unit is bytes",
            {"hint": f'"{hint}"'},
        )
    return value


def _whole_mib(value: int) -> int:
    if value % MIB:
        raise ValueError("memory is given to a guest in whole MiB")
    return value


def _whole_mib_of_disk(value: int) -> int:
    if value % MIB:
        raise ValueError("a boot partition is of whole MiB")
    return value


def host(value: _T) -> _T:
    """Return a path where the recipe is read; ValueError for a text that is none."""
    if isinstance(value, str) and (not value or "\0" in value):
        raise ValueError("no path")
    return value


def _inside(value: str) -> str:
    if not re.fullmatch(_INSIDE, value):
        raise ValueError("a path in the image begins with / and has no '..'")
    return value


def _loadable(value: str) -> str:
    if not re.fullmatch(_LOADABLE, value):
        raise ValueError(
            "a boot loader's path in the image begins with /, names a file, and is of letters, digits and ._+@~-"
        )
    return value


def _volume(value: str) -> str:
    if not re.fullmatch(_VOLUME, value):
        raise ValueError("a volume's name is of letters, digits and _+.-, 63 at most, and begins with no - or .")
    return value


def _size_schema(least: int, multiple: int, *words: str) -> WithJsonSchema:
    number = {"type": "integer", "minimum": least, "maximum": LARGEST, "multipleOf": multiple}
    text = {"type": "string", "pattern": f"^({'|'.join((_TEXT, *words))})$"}
    return WithJsonSchema({"anyOf": [number, text]})


def text_schema(pattern: str) -> WithJsonSchema:
    """Return the schema of a text that a pattern matches as a whole."""
    schema: dict[str, Any] = {"type": "string", "pattern": f"^{pattern}$"}
    return WithJsonSchema(schema)


PATH = r"[^\u0000]+"
_INSIDE = r"/(?!([^\u0000]*/)?\.\.(/|$))[^\u0000]*"
_VOLUME = r"[A-Za-z0-9_+][A-Za-z0-9_+.-]{0,62}"
_LOADABLE = r"(/(?!\.\.?(/|$))[A-Za-z0-9._+@~-]+)+"

_Bytes = Annotated[int, BeforeValidator(parse_size), Field(ge=0, le=LARGEST)]

Size = Annotated[_Bytes, _size_schema(0, 1)]
"""Bytes."""
Memory = Annotated[_Bytes, AfterValidator(_enough), AfterValidator(_whole_mib), _size_schema(_LEAST_MEMORY, MIB)]
"""Bytes, whole MiB."""
SizeOrAuto = Annotated[
    Annotated[_Bytes, AfterValidator(_whole_kib)] | None, BeforeValidator(_auto), _size_schema(0, KIB, "auto")
]
"""Bytes, whole KiB; None stands for "auto"."""
BootSize = Annotated[_Bytes, AfterValidator(_whole_mib_of_disk), _size_schema(0, MIB)]
"""Bytes, whole MiB; 0 for none."""
HostPath = Annotated[Path, Field(strict=False), BeforeValidator(host), text_schema(PATH)]
"""A path where the recipe is read."""
ImagePath = Annotated[str, AfterValidator(_inside), text_schema(_INSIDE)]
"""An absolute path in the image."""
BlockSize = Annotated[Literal[0, 1024, 2048, 4096], BeforeValidator(_number)]
"""Bytes; 0 for the default."""
VolumeName = Annotated[str, AfterValidator(_volume), text_schema(_VOLUME)]
"""The name of a volume group or a logical volume (lvm(8), VALID NAMES)."""
KernelPath = Annotated[str, AfterValidator(_loadable), text_schema(_LOADABLE)]
"""An absolute path in the image that can be written in a boot menu."""
