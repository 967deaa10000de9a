"""The datamodel's types: read from their names, and values of them from and to the wire.

Inside the server: str for string, enum, ref and datetime; int, float and bool; list for a set; dict for a map.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any
from xmlrpc.client import DateTime

from tests.fakes.xapi.failure import internal

NULL = "OpaqueRef:NULL"
EPOCH = "19700101T00:00:00Z"
Value = Any
Record = dict[str, Any]

_DATE = re.compile(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[-+][0-9:]+)?")
_MAP = re.compile(r"\((.+) -> (.+)\) map")


@dataclass(frozen=True)
class Kind:
    """A type. `of` is the class of a ref or record, or the name of an enum; `inner` what a set or map holds."""

    name: str
    of: str = ""
    key: "Kind | None" = None
    inner: "Kind | None" = None


@cache
def kind(text: str) -> Kind:
    """Read a type as the datamodel writes it."""
    if pair := _MAP.fullmatch(text):
        return Kind("map", key=kind(pair[1]), inner=kind(pair[2]))
    head, _, last = text.rpartition(" ")
    if last in {"set", "option"}:
        return Kind(last, inner=kind(head))
    if last in {"ref", "record"}:
        return Kind(last, head)
    if head == "enum":
        return Kind("enum", last)
    return Kind(text)


class Wire:
    """Values from and to the wire, by the datamodel's enums."""

    def __init__(self, enums: dict[str, list[str]]) -> None:
        self._enums = {name: {value.lower(): value for value in values} for name, values in enums.items()}

    def read(self, what: Kind, value: Value) -> Value:
        """Return a value that came in; a Failure where xapi cannot unmarshal it."""
        match what.name:
            case "int" | "float" | "bool" | "datetime":
                return _SCALARS[what.name](value)
            case "enum":
                return self._enum(what, value)
            case "set" if isinstance(value, list) and what.inner:
                return [self.read(what.inner, one) for one in value]
            case "map" if isinstance(value, dict) and what.inner and what.key:
                return {str(self.read(what.key, key)): self.read(what.inner, one) for key, one in value.items()}
            case "record" if isinstance(value, dict):
                return value
            case "string" | "ref" if isinstance(value, str):
                return value
        raise internal(f"Expected {what.name}, got '{value!r}'")

    def _enum(self, what: Kind, value: Value) -> str:
        """Return an enum's value, found in whatever case it came."""
        if isinstance(value, str) and value.lower() in self._enums[what.of]:
            return self._enums[what.of][value.lower()]
        raise internal(f"Unknown tag '{value}'")

    def first(self, what: Kind) -> str:
        """Return the first value of an enum."""
        return next(iter(self._enums[what.of].values()))


def write(what: Kind, value: Value, *, xml: bool) -> Value:
    """Return a value for the wire: in XML-RPC integers are decimal strings and dates have a type of their own."""
    match what.name:
        case "int" if xml:
            return str(value)
        case "datetime" if xml:
            return DateTime(value)
        case "set" if what.inner:
            return [write(what.inner, one, xml=xml) for one in value]
        case "map" if what.inner:
            return {str(key): write(what.inner, one, xml=xml) for key, one in value.items()}
    return value


def blank(what: Kind, wire: Wire) -> Value:
    """Return what a field holds that nobody gave a value."""
    blanks: Record = {"int": 0, "float": 0.0, "bool": False, "datetime": EPOCH, "ref": NULL, "string": ""}
    if what.name == "enum":
        return wire.first(what)
    return {"set": [], "map": {}}.get(what.name, blanks.get(what.name, ""))


def _int(value: Value) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        if re.fullmatch(r"-?[0-9]{1,19}", value):
            return int(value)
        raise internal("Int64.of_string")
    raise internal(f"Expected int64, got '{value!r}'")


def _float(value: Value) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise internal("float_of_string") from None


def _bool(value: Value) -> bool:
    if isinstance(value, bool):
        return value
    raise internal(f"Expected bool, got '{value!r}'")


def _date(value: Value) -> str:
    text = value.value if isinstance(value, DateTime) else value
    if isinstance(text, str) and _DATE.fullmatch(text):
        return text
    raise internal("Date.t_of_rpc")


_SCALARS = {"int": _int, "float": _float, "bool": _bool, "datetime": _date}
