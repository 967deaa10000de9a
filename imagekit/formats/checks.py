"""What the fields of a domain may hold: each check passes in silence or raises RecipeError."""

import ipaddress
import re
import unicodedata
from collections.abc import Iterable
from uuid import UUID

from imagekit.errors import RecipeError


def match(what: str, value: str | None, pattern: str, expected: str) -> None:
    """Refuse a value, if there is one, that the pattern does not match as a whole."""
    if value is not None and not re.fullmatch(pattern, value):
        raise RecipeError(f"{value!r} is no {what}", hint=f"expected {expected}")


def one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is not among the allowed ones."""
    if value not in allowed:
        raise RecipeError(f"{value!r} is no {what}", hint=f"one of {', '.join(allowed)}")


def line(what: str, value: str) -> None:
    """Refuse what is no single line of text: XML holds no control character, a boot menu no line's end."""
    for character in value:
        if unicodedata.category(character) in {"Cc", "Cs"} or character in "\ufffe\uffff":
            raise RecipeError(f"the {what} has the character {character!r}", hint="one line of text is expected")


def path(what: str, value: str) -> None:
    """Refuse a path that is empty or no single line of text."""
    line(what, value)
    if not value.strip():
        raise RecipeError(f"the {what} is empty")


def address(value: str) -> None:
    """Refuse what is no single IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(value)
    except ValueError as error:
        raise RecipeError(str(error), hint="expected one address such as 192.0.2.7, without a mask") from None
    if "%" in value:
        raise RecipeError(
            f"{value!r} names an interface", hint="a scope is known to one machine only: leave it out"
        )


def uuid(value: str) -> None:
    """Refuse what is no UUID in its usual form, of either case."""
    try:
        canonical = str(UUID(value))
    except ValueError:
        canonical = ""
    if value.lower() != canonical:
        raise RecipeError(f"{value!r} is no UUID", hint="expected 8-4-4-4-12 hexadecimal digits")


def distinct(what: str, values: Iterable[str]) -> None:
    """Refuse a value that comes twice."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise RecipeError(f"two devices have the {what} {value}")
        seen.add(value)
