"""A matrix in a recipe: one image for each combination of values, but for those that are left out.

An axis is a key of the recipe by its dotted name, with its values in a list. `targets` and a target's regions are
lists themselves: their values do not make more images, they are gathered in the one image they are all for, so
that what is shared is built once.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from imagekit.errors import RecipeError
from imagekit.recipe.base import Model
from imagekit.recipe.models import Image

_MOST = 10_000  # images of one matrix
_LONGEST = 24  # characters of a value in a name
_REGIONS = re.compile(r"publish\.(\w+)\.regions")
_FIELD = re.compile(r"\{([\w.-]+)\}")
_EXCLUDE = "exclude"

Cell = dict[str, object]
"""Dotted key → value."""


def cells(table: dict[str, Any], settings: Mapping[str, object], where: str, stem: str) -> list[dict[str, Any]]:
    """Return the tables of a matrix's images, each with its name; the table alone where it has no matrix.

    A key that `settings` has, from the command line, is no axis. `where` is the file and `stem` the name that it
    gives, for a table that has none. RecipeError for axes that are no keys, and for what leaves nothing.
    """
    matrix = table.get("matrix")
    if not isinstance(matrix, dict):  # none, or the models refuse it
        return [table]
    axes = {key: values for key, values in _axes(matrix, where).items() if key not in settings}
    size = 1
    for values in axes.values():
        size *= len(values)
    if size > _MOST:
        raise RecipeError(f"{where}: matrix: {size} images, and {_MOST} are the most")
    every = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    excludes = _excludes(matrix, axes, settings, where)
    kept = [cell for cell in every if not _excluded(cell, excludes)]
    if not kept:
        raise RecipeError(f"{where}: matrix: all is excluded")
    base = {key: value for key, value in table.items() if key != "matrix"}
    return [_image(base, cell, axes, where, stem) for cell in _gathered(kept)]


def _axes(matrix: Mapping[str, Any], where: str) -> dict[str, list[object]]:
    axes = dict(_flat({key: value for key, value in matrix.items() if key != _EXCLUDE}))
    for key, values in axes.items():
        if wrong := _no_key(key):
            raise RecipeError(f"{where}: matrix.{key}: no such key ({wrong})")
        if not isinstance(values, list) or not values:
            raise RecipeError(f"{where}: matrix.{key}: a list of values is expected", hint=f"{key} = [1, 2]")
        if any(values.count(value) > 1 for value in values):
            raise RecipeError(f"{where}: matrix.{key}: a value is there twice")
    return axes


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value): a table below is more of the key, as in TOML."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _no_key(dotted: str) -> str:
    """Return what was perhaps meant by a dotted key that the recipe does not have, "" when it has it."""
    model: type[Model] | None = Image
    for depth, part in enumerate(parts := dotted.split(".")):
        if model is None:
            return f"{'.'.join(parts[:depth])} is no table"
        known = {field.alias or name: field for name, field in model.model_fields.items() if name != "matrix"}
        if part not in known:
            close = difflib.get_close_matches(part, known, 1)
            return (
                f"did you mean {'.'.join([*parts[:depth], close[0]])}?"
                if close
                else f"there are: {', '.join(known)}"
            )
        kinds = (known[part].annotation, *getattr(known[part].annotation, "__args__", ()))
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Model)), None)
    return ""


def _excludes(
    matrix: Mapping[str, Any], axes: Mapping[str, Sequence[object]], settings: Mapping[str, object], where: str
) -> list[Cell]:
    tables = matrix.get(_EXCLUDE, [])
    if not isinstance(tables, list) or not all(isinstance(one, dict) and one for one in tables):
        raise RecipeError(f"{where}: matrix.exclude: tables are expected", hint='exclude = [{ memory = "64MiB" }]')
    found: list[Cell] = []
    for table in tables:
        cell = dict(_flat(table))
        for key, value in cell.items():
            if key not in axes and key not in settings:
                raise RecipeError(
                    f"{where}: matrix.exclude: {key} is no axis", hint=f"there are: {', '.join(axes)}"
                )
            if key in axes and value not in axes[key]:
                raise RecipeError(f"{where}: matrix.exclude: {value!r} is no value of {key}")
        found.append({key: value for key, value in cell.items() if key in axes or value != settings.get(key)})
    return found


def _excluded(cell: Cell, excludes: Sequence[Cell]) -> bool:
    return any(all(cell.get(key) == value for key, value in one.items()) for one in excludes)


def _gathered(cells: Sequence[Cell]) -> list[Cell]:
    """Make one cell of those that differ only in targets and regions, which are lists in the recipe."""
    found: dict[str, tuple[Cell, list[Cell]]] = {}
    for cell in cells:
        own = {key: value for key, value in cell.items() if not _is_list(key)}
        found.setdefault(repr(own), (own, []))[1].append(cell)
    gathered: list[Cell] = []
    for own, some in found.values():
        lists: dict[str, dict[object, None]] = {}
        for cell in some:
            for key in filter(_is_list, cell):
                match = _REGIONS.fullmatch(key)
                # Where a region is left out for a target, it is its own target's that counts.
                if match is None or match[1] in _listed(cell.get("targets", match[1])):
                    lists.setdefault(key, {}).update(dict.fromkeys(_listed(cell[key])))
        gathered.append(own | {key: list(values) for key, values in lists.items()})
    return gathered


def _is_list(key: str) -> bool:
    return key == "targets" or _REGIONS.fullmatch(key) is not None


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _image(
    base: Mapping[str, Any], cell: Cell, axes: Mapping[str, Sequence[object]], where: str, stem: str
) -> dict[str, Any]:
    """Return the table of one image: the values of its cell, and the name that they make."""
    words = {key: _word(key, value, axes[key]) for key, value in cell.items() if not _is_list(key)}
    given = str(cell.get("name", base.get("name", stem)))
    if "name" in cell or not words:
        name = given
    elif _FIELD.search(given):
        unknown = next((field for field in _FIELD.findall(given) if field not in words), None)
        if unknown is not None:
            raise RecipeError(f"{where}: name: {{{unknown}}} is no axis", hint=f"there are: {', '.join(words)}")
        name = _FIELD.sub(lambda match: words[match[1]], given)
    else:
        name = "-".join([given, *words.values()])
    table = dict(base)
    for key, value in (cell | {"name": name}).items():
        _put(table, key.split("."), value, where)
    return table


def _word(key: str, value: object, values: Sequence[object]) -> str:
    """Return what stands for a value in a name: its own characters, or its number where there are too many."""
    text = value
    if isinstance(value, str) and key in {"kernel", "ramdisk"}:
        text = re.sub(r"(\.(gz|bz2|xz|zst|xen|elf|bin))+$", "", value.rpartition("/")[2])
    if isinstance(text, bool):
        text = str(text).lower()
    plain = re.sub(r"[^A-Za-z0-9._]+", "-", str(text)).strip("-._")
    if isinstance(value, list | dict) or not 0 < len(plain) <= _LONGEST:
        return str(values.index(value) + 1)
    return plain


def _put(table: dict[str, Any], keys: Sequence[str], value: object, where: str) -> None:
    """Set a key of a table, without a change of the tables below that others share."""
    for key in keys[:-1]:
        below = table.get(key, {})
        if not isinstance(below, dict):
            raise RecipeError(f"{where}: {key} is no table, and the matrix sets a key of it")
        table[key] = table = dict(below)
    table[keys[-1]] = value
