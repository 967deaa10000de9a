"""Filters and pages of EC2's Describe calls."""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from imagekit.rehearsal.query import Asked, NotDoneError

Row = TypeVar("Row")
Fields = Mapping[str, Callable[[Row], list[str]]]


def choose(
    rows: Sequence[Row],
    asked: Asked,
    fields: Fields[Row],
    tags: Callable[[Row], dict[str, str]] = lambda _: {},
) -> list[Row]:
    """Return the rows that pass every filter; a filter passes what has any of its values."""
    left = list(rows)
    for one in asked.parts("Filter"):
        one.only("Name", "Value")
        name, values = one.needed("Name"), one.texts("Value")
        if not values:
            raise NotDoneError("InvalidParameterValue", f"The filter '{name}' has no value")
        rule = re.compile("|".join(map(_pattern, values)), re.DOTALL)
        see = _seeing(name, fields, tags)
        left = [row for row in left if any(rule.fullmatch(value) for value in see(row))]
    return left


def page(rows: list[Row], asked: Asked, sizes: range, ids: str = "") -> tuple[list[Row], str | None]:
    """Return the rows of the page that was asked for, and the token of the next. `ids` names the list of ids."""
    if ids and ids in asked and ("MaxResults" in asked or "NextToken" in asked):
        message = f"The parameter {ids} cannot be used with the parameter MaxResults"
        raise NotDoneError("InvalidParameterCombination", message)
    size = asked.number("MaxResults", sizes.stop - 1)
    if size not in sizes:
        message = (
            f"Value ( {size} ) for parameter maxResults is invalid. Expecting {sizes.start} to {sizes.stop - 1}"
        )
        raise NotDoneError("InvalidParameterValue", message)
    start = 0
    if token := asked.text("NextToken"):
        try:
            start = int(b64decode(token, validate=True).decode())
        except ValueError:
            raise NotDoneError("InvalidParameterValue", "Unable to parse pagination token") from None
    following = start + size
    return rows[start:following], b64encode(str(following).encode()).decode() if following < len(rows) else None


def _pattern(value: str) -> str:
    return re.escape(value).replace(r"\*", ".*").replace(r"\?", ".")


def _seeing(name: str, fields: Fields[Row], tags: Callable[[Row], dict[str, str]]) -> Callable[[Row], list[str]]:
    if name.startswith("tag:"):
        key = name.removeprefix("tag:")
        return lambda row: [tags(row)[key]] if key in tags(row) else []
    if name == "tag-key":
        return lambda row: list(tags(row))
    if name not in fields:
        raise NotDoneError("InvalidParameterValue", f"The filter '{name}' is invalid")
    return fields[name]
