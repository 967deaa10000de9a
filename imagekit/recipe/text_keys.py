"""Which keys of a recipe hold texts: there, digits from a command line are a text as well."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from imagekit.recipe.models import Recipe


def holds_text(dotted: str) -> bool:
    """Tell whether a key, as `ami.user`, holds a text or a path, and nothing that TOML writes without quotes."""
    kinds: set[Any] = {Recipe}
    for key in dotted.split("."):
        kinds = {kind for above in kinds for kind in _below(above, key)}
    return bool(kinds & {str, Path}) and not kinds & {int, bool, float}


def _below(above: Any, key: str) -> Iterator[Any]:  # noqa: ANN401 -- a type of any kind
    if isinstance(above, type) and issubclass(above, BaseModel):
        for name, field in above.model_fields.items():
            if key == (field.alias or name):
                yield from _kinds(field.annotation)
    elif get_origin(above) in {dict, Mapping}:
        yield from _kinds(get_args(above)[1])


def _kinds(annotation: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield the types that an annotation is made of: of a union each, of Annotated the first."""
    if isinstance(annotation, type) or get_origin(annotation) in {dict, Mapping}:
        yield annotation
    elif get_origin(annotation) not in {tuple, list}:
        for one in get_args(annotation):
            yield from _kinds(one)
