"""Values of XML-RPC as xapi writes and reads them, without a document around them: ova.xml is one value.

xapi's integers have no type of their own, so they come back as the strings that they are. Read by hand on expat:
a document type, and so every entity, is refused; depth and number of values are bounded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from xml.parsers import expat
from xml.sax.saxutils import escape

from imagekit.errors import VerificationError
from imagekit.formats.xapi import Value

_DEEPEST = 32  # values in values
_MOST = 1_000_000  # elements
_QUOTES = {'"': "&quot;", "'": "&apos;"}
_SCALARS = {"string", "boolean", "int", "i4", "i8", "double", "dateTime.iso8601"}


def dump(value: Value) -> str:
    """Return a value's element, without space between elements."""
    return f"<value>{_content(value)}</value>"


def load(data: bytes) -> Value:
    """Return the value that is all of `data`; VerificationError when it is none.

    Integers, and strings without a type, are strings; a date is the string that it is.
    """
    reader = _Reader()
    try:
        return reader.read(data)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise VerificationError("ova.xml is no value of XML-RPC", details=str(error)) from error


def _content(value: Value) -> str:
    if isinstance(value, Mapping):
        members = (f"<member><name>{_text(name)}</name>{dump(one)}</member>" for name, one in value.items())
        return f"<struct>{''.join(members)}</struct>"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"<array><data>{''.join(map(dump, value))}</data></array>"
    return _scalar_content(value)


def _scalar_content(value: str | bool | float | datetime) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return f"<boolean>{value:d}</boolean>"
    if isinstance(value, datetime):
        return f"<dateTime.iso8601>{value:%Y%m%dT%H:%M:%SZ}</dateTime.iso8601>"
    return str(value) if isinstance(value, int) else f"<double>{value!r}</double>"


def _text(text: str) -> str:
    return escape(text, _QUOTES)


@dataclass(slots=True)
class _Frame:
    """A value under way: what it holds so far (None: text), and the name of the member that comes next."""

    content: "Value | None" = None
    name: str | None = None


class _Reader:
    def __init__(self) -> None:
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._refuse
        self._open = [""]
        self._frames: list[_Frame] = []
        self._pieces: list[str] = []
        self._count = 0
        self._result: Value | None = None

    def read(self, data: bytes) -> Value:
        self._parser.Parse(data, True)  # noqa: FBT003 -- expat's
        if self._result is None:
            raise VerificationError("ova.xml is empty")
        return self._result

    def _start(self, tag: str, _attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > _MOST or len(self._frames) > _DEEPEST:
            raise VerificationError("ova.xml goes beyond all measure")
        if self._open[-1] not in _PARENTS.get(tag, ()):
            raise VerificationError(f"ova.xml has <{tag[:40]}> in <{self._open[-1]}>, where none belongs")
        self._open.append(tag)
        self._pieces.clear()
        if tag == "value":
            self._frames.append(_Frame())
        elif tag == "struct":
            self._fill({})
        elif tag == "array":
            self._fill([])

    def _text(self, text: str) -> None:
        self._pieces.append(text)

    def _end(self, tag: str) -> None:
        self._open.pop()
        text = "".join(self._pieces)
        self._pieces.clear()
        frame = self._frames[-1]
        if tag == "name":
            if frame.name is not None:
                raise VerificationError(f"ova.xml has no value for {frame.name[:40]}")
            frame.name = text
        elif tag == "value":
            self._frames.pop()
            self._put(text if frame.content is None else frame.content)
        elif tag in _SCALARS:
            self._fill(_scalar(tag, text))

    def _fill(self, content: Value) -> None:
        frame = self._frames[-1]
        if frame.content is not None:
            raise VerificationError("ova.xml has two values in one")
        frame.content = content

    def _put(self, value: Value) -> None:
        if not self._frames:
            self._result = value
            return
        holder = self._frames[-1]
        if isinstance(holder.content, dict):
            if holder.name is None or holder.name in holder.content:
                raise VerificationError(
                    "ova.xml has a value without a name of its own", details=str(holder.name)[:40]
                )
            holder.content[holder.name] = value
            holder.name = None
        else:
            cast("list[Value]", holder.content).append(value)

    def _refuse(self, *_: object) -> None:
        raise VerificationError("ova.xml has a document type: it is not read")


_PARENTS: Mapping[str, tuple[str, ...]] = {
    "value": ("", "member", "data"),
    "struct": ("value",),
    "array": ("value",),
    "data": ("array",),
    "member": ("struct",),
    "name": ("member",),
    **dict.fromkeys(_SCALARS, ("value",)),
}


def _scalar(tag: str, text: str) -> Value:
    if tag == "boolean":
        if text.strip() not in {"0", "1"}:
            raise VerificationError(f"ova.xml has the boolean {text[:40]!r}")
        return text.strip() == "1"
    if tag == "double":
        return float(text)
    return text if tag in {"string", "dateTime.iso8601"} else text.strip()
