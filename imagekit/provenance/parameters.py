"""The recipe as it was resolved, in a statement and back: SLSA's externalParameters.

Paths are relative to the recipe's folder (a bare kernel's own), so that a checkout's place does not show.
"""

import copy
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from imagekit import recipe
from imagekit.errors import RecipeError, VerificationError
from imagekit.plan import Json
from imagekit.recipe import Image

_ELSEWHERE = {"publish", "prove", "provenance", "targets", "variables", "image"}
"""What no byte of an artifact depends on, and what is resolved by now."""
_NOWHERE = Path("/nowhere")
KEYS = ("private_key", "cert", "ec2_cert", "secrets")
"""Of the table `ami`: paths of keys, which are named and not told of."""


def named(path: Path, folder: Path) -> str:
    """Return the name that a statement has for an input."""
    return os.path.relpath(path, folder)


def described(image: Image, folder: Path) -> dict[str, Json]:
    """Return an image's recipe as JSON: what differs from the defaults, variables and command line in it."""
    table = image.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=_ELSEWHERE)
    for keys, path in recipe.named_sources(image):
        _put(table, keys, named(path, folder))
    for key in KEYS:
        if path := getattr(image.ami, key):
            _put(table, ("ami", key), named(path, folder))
    return table


def restored(table: Mapping[str, Json], place: Callable[[str], Path]) -> Image:
    """Return the image of a recipe in a statement; `place` tells where an input of a name lies now.

    VerificationError for what no recipe can be.
    """
    try:
        image, found = recipe.resolved(table, _NOWHERE), copy.deepcopy(dict(table))
        for keys, path in recipe.named_sources(image):
            _put(found, keys, str(place(os.path.relpath(path, _NOWHERE))))
        return recipe.resolved(found, Path.cwd())
    except RecipeError as error:
        raise VerificationError("the recipe in the statement is none", details=str(error)) from None


def _put(table: dict[str, Any], keys: tuple[str | int, ...], value: str) -> None:
    *parents, last = keys
    place: Any = table
    for key in parents:
        place = place[key]
    place[last] = value
