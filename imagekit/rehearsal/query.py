"""AWS's query protocol: a form of flattened parameters in, XML out."""

import re
import secrets
from collections.abc import Iterable
from typing import Self
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from imagekit.rehearsal.http import Reply

Tree = dict[str, "Tree | str"]
_NAME = re.compile(r"[A-Za-z0-9]+(\.[A-Za-z0-9]+)*")


class NotDoneError(Exception):
    """An error answer: AWS's code for it, its words and its status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class Asked:
    """The parameters of a call, or of a part of one."""

    def __init__(self, tree: Tree, path: str = "") -> None:
        self._tree = tree
        self._path = path

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a form; NotDoneError for what is none."""
        tree: Tree = {}
        try:
            pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)
        except ValueError:
            raise NotDoneError("MalformedQueryString", "The body is no form.") from None
        for name, value in pairs:
            if not _NAME.fullmatch(name):
                raise NotDoneError("UnknownParameter", f"The parameter {name} is not recognized")
            here: Tree | str = tree
            *above, last = name.split(".")
            for part in above:
                here = here.setdefault(part, {}) if isinstance(here, dict) else here
            if not isinstance(here, dict) or last in here:
                raise NotDoneError("MalformedQueryString", f"The parameter {name} is there twice.")
            here[last] = value
        return cls(tree)

    def __contains__(self, name: str) -> bool:
        return name in self._tree

    def only(self, *names: str) -> None:
        """Refuse any parameter but these."""
        for name in self._tree:
            if name not in {*names, "Action", "Version", "DryRun"}:
                raise NotDoneError("UnknownParameter", f"The parameter {self._path}{name} is not recognized")

    def text(self, name: str, default: str = "") -> str:
        """Return a parameter that may be missing."""
        value = self._tree.get(name, default)
        if not isinstance(value, str):
            raise NotDoneError("InvalidParameterValue", f"The parameter {self._path}{name} is no list")
        return value

    def needed(self, name: str) -> str:
        """Return a parameter that may not be missing."""
        if not (value := self.text(name)):
            raise NotDoneError("MissingParameter", f"The request must contain the parameter {self._path}{name}")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a parameter that is true or false."""
        value = self.text(name, "true" if default else "false")
        if value not in {"true", "false"}:
            raise self.invalid(name)
        return value == "true"

    def number(self, name: str, default: int) -> int:
        """Return a parameter that is a number."""
        value = self.text(name, str(default))
        if not re.fullmatch(r"-?[0-9]{1,9}", value):
            raise self.invalid(name)
        return int(value)

    def invalid(self, name: str) -> NotDoneError:
        """Say that a parameter's value cannot be."""
        return NotDoneError("InvalidParameterValue", f"Invalid value '{self.text(name)}' for {self._path}{name}")

    def texts(self, name: str) -> list[str]:
        """Return the items of a list of strings, in order."""
        values = [value for _, value in self._listed(name)]
        return [value for value in values if isinstance(value, str)]

    def parts(self, name: str) -> list["Asked"]:
        """Return the items of a list of structures, in order."""
        listed = self._listed(name)
        return [Asked(value, f"{self._path}{name}.{at}.") for at, value in listed if not isinstance(value, str)]

    def part(self, name: str) -> "Asked":
        """Return a structure, empty when there is none."""
        value = self._tree.get(name, {})
        return Asked({} if isinstance(value, str) else value, f"{self._path}{name}.")

    def _listed(self, name: str) -> list[tuple[str, "Tree | str"]]:
        value = self._tree.get(name, {})
        if isinstance(value, str) or not all(at.isdecimal() for at in value):
            raise NotDoneError("InvalidParameterValue", f"The parameter {self._path}{name} is a list")
        return sorted(value.items(), key=lambda pair: int(pair[0]))


def xml(name: str, value: object) -> str:
    """Return an element. None is left out, the items of a list are each an <item>."""
    if value is None:
        return ""
    if isinstance(value, dict):
        inside = "".join(xml(key, inner) for key, inner in value.items())
    elif isinstance(value, list):
        inside = "".join(xml("item", inner) for inner in value)
    elif isinstance(value, bool):
        inside = "true" if value else "false"
    else:
        inside = escape(str(value))
    return f"<{name}>{inside}</{name}>"


def answer(action: str, space: str, said: dict[str, object]) -> Reply:
    """Return the answer to an action that was done."""
    request = f"{secrets.token_hex(4)}-rehearsed"
    inside = "".join(xml(name, value) for name, value in {"requestId": request, **said}.items())
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{action}Response xmlns="{space}">{inside}</{action}Response>'
    return Reply(200, text.encode(), {"Content-Type": "text/xml;charset=UTF-8"})


def refusal(status: int, code: str, message: str) -> Reply:
    """Return the answer to an action that was not done."""
    said = {"Errors": {"Error": {"Code": code, "Message": message}}, "RequestID": secrets.token_hex(16)}
    text = '<?xml version="1.0" encoding="UTF-8"?>\n' + xml("Response", said)
    return Reply(status, text.encode(), {"Content-Type": "text/xml;charset=UTF-8"})


def tag_set(tags: dict[str, str]) -> list[dict[str, str]] | None:
    """Return tags as answers have them."""
    return [{"key": key, "value": value} for key, value in sorted(tags.items())] or None


def read_tags(asked: Iterable[Asked]) -> dict[str, str]:
    """Read tags, or refuse them."""
    tags: dict[str, str] = {}
    for one in asked:
        one.only("Key", "Value")
        key, value = one.text("Key"), one.text("Value")
        if not key or len(key) > 127 or len(value) > 255 or key.lower().startswith("aws:"):  # noqa: PLR2004 -- AWS's limits
            raise NotDoneError("InvalidParameterValue", f"Tag key or value is malformed: {key[:128]!r}")
        if key in tags:
            raise NotDoneError("InvalidParameterValue", f"Duplicate tag key '{key}' specified.")
        tags[key] = value
    if len(tags) > 50:  # noqa: PLR2004
        raise NotDoneError("TagLimitExceeded", "The maximum number of tags is 50.")
    return tags


def specified_tags(asked: Asked, *kinds: str) -> dict[str, dict[str, str]]:
    """Read TagSpecification for the kinds of resources that an action makes."""
    found: dict[str, dict[str, str]] = {kind: {} for kind in kinds}
    for one in asked.parts("TagSpecification"):
        one.only("ResourceType", "Tag")
        kind = one.text("ResourceType")
        if kind not in kinds:
            raise NotDoneError("InvalidParameterValue", f"'{kind}' is not a valid taggable resource type here")
        found[kind] = read_tags(one.parts("Tag"))
    return found
