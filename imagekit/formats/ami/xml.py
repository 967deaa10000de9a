"""As much XML as a manifest is: elements, attributes and text. No document type, hence no entity to expand."""

from dataclasses import dataclass, field
from typing import overload
from xml.parsers import expat
from xml.sax.saxutils import escape

from imagekit.errors import VerificationError

_DEEPEST = 16
_MOST = 100_000  # elements


@dataclass(slots=True)
class Element:
    """An element; `start` and `end` are where it lies in the file."""

    tag: str
    attributes: dict[str, str]
    start: int
    end: int = 0
    children: list["Element"] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text, without the space around it."""
        return "".join(self.pieces).strip()

    def all(self, tag: str) -> list["Element"]:
        """Return the children of this name."""
        return [child for child in self.children if child.tag == tag]

    def one(self, tag: str) -> "Element":
        """Return the one child of this name; VerificationError when there are none, or two."""
        found = self.all(tag)
        if len(found) != 1:
            raise VerificationError(f"the manifest's {self.tag} has {len(found) or 'no'} {tag}, not one")
        return found[0]

    @overload
    def text_of(self, tag: str) -> str: ...
    @overload
    def text_of(self, tag: str, default: None) -> str | None: ...
    def text_of(self, tag: str, default: str | None = "") -> str | None:
        """Return the text of the one child of this name; a default of None allows that there is none."""
        if default is None and not self.all(tag):
            return None
        return self.one(tag).text

    def written(self, quote: str) -> str:
        """Return the element without space between elements, its attributes in these quotes."""
        head = "".join(f" {name}={quote}{escape(value)}{quote}" for name, value in self.attributes.items())
        content = "".join(child.written(quote) for child in self.children) or escape(self.text)
        return f"<{self.tag}{head}>{content}</{self.tag}>" if content else f"<{self.tag}{head}/>"


def parse(data: bytes) -> Element:
    """Return the root element; VerificationError for what is no XML, has a document type, or goes too deep."""
    if b"<" not in data[:1024]:
        raise VerificationError("not a bundle's manifest: no XML")
    reader = _Reader()
    try:
        return reader.read(data)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise VerificationError("the manifest is no XML", details=str(error)) from error


class _Reader:
    def __init__(self) -> None:
        self._parser = parser = expat.ParserCreate()
        self._open: list[Element] = []
        self._root: Element | None = None
        self._count = 0
        parser.ordered_attributes = False
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._refuse

    def read(self, data: bytes) -> Element:
        self._parser.Parse(data, True)  # noqa: FBT003 -- expat's
        if self._root is None:
            raise VerificationError("the manifest is empty")
        return self._root

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) >= _DEEPEST or self._count > _MOST:
            raise VerificationError("the manifest has elements beyond all measure")
        element = Element(tag, attributes, self._parser.CurrentByteIndex)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self._root = element
        self._open.append(element)

    def _end(self, tag: str) -> None:
        # At <tag/> the index is that of its start; a manifest has none that is signed by its place.
        element = self._open.pop()
        if element.children and element.text:  # signed text has none, and what is read would not be what is signed
            raise VerificationError(f"the manifest has text between the elements of {tag}")
        element.end = self._parser.CurrentByteIndex + len(tag.encode()) + 3

    def _text(self, text: str) -> None:
        self._open[-1].pieces.append(text)

    def _refuse(self, *_: object) -> None:
        raise VerificationError("the manifest has a document type, which no bundle's has: it is not read")
