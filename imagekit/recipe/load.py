"""Read recipes: TOML, the variables that it lets in, settings from the command line on top."""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from imagekit.errors import RecipeError, UsageError
from imagekit.recipe.base import Model
from imagekit.recipe.disks import check_disk
from imagekit.recipe.models import Image, Recipe
from imagekit.recipe.systems import DISKIMAGE_BUILDER
from imagekit.recipe.text_keys import holds_text
from imagekit.recipe.values import MBR_LARGEST, MIB

_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")  # $${ stands for ${
_LARGEST = 1 << 20
_DEEPEST = 50  # parts of a dotted key: tomllib's memory grows with their square
_Table = TypeVar("_Table", bound=Image)


def from_kernel(kernel: Path, settings: Mapping[str, object], environment: Mapping[str, str]) -> tuple[Image, ...]:
    """Return the image of a bare kernel, with settings from the command line."""
    table: dict[str, Any] = {"kernel": str(kernel.absolute()), "name": stem(kernel)}
    return _images(table, None, Path.cwd(), environment, settings)


def read(path: Path, settings: Mapping[str, object], environment: Mapping[str, str]) -> tuple[Image, ...]:
    """Return the images of a recipe file, with settings from the command line on top.

    RecipeError names the file, the key and the line.
    """
    table = _parsed(path)
    return _images(table, path, path.parent, environment, settings)


def resolved(table: Mapping[str, object], folder: Path) -> Image:
    """Return the image of a table that was resolved before: nothing in it stands for a variable."""
    return _placed(_validated(Image, dict(table), None), folder, None)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise RecipeError(f"{path} is too large for a recipe", details=f"over {_LARGEST >> 20} MiB")
        if any(line.partition(b"=")[0].count(b".") > _DEEPEST for line in data.splitlines()):
            raise RecipeError(f"{path} is no recipe", details=f"a key of more than {_DEEPEST} parts")
        return tomllib.loads(data.decode())
    except OSError as error:
        raise RecipeError(f"{path} cannot be read", details=str(error.strerror)) from error
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, a number without end
        raise RecipeError(f"{path} is no TOML", details=str(error)) from error


def stem(path: Path) -> str:
    """Return the image name that a file's name gives: without its endings, and of plain characters."""
    name = re.sub(r"(\.(gz|bz2|xz|lzo|zst|xen|elf|bin|toml|raw|tar|tgz|txz))+$", "", path.name)
    return re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-")[:63] or "image"


def setting(text: str) -> tuple[str, object]:
    """Return (key, value) of a `key=value` from the command line; the value is TOML, or else a text.

    So are digits, where a key holds a text.
    """
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", key):
        raise UsageError(f"--set wants key=value, not {text!r}", hint="--set filesystem.type=ext4")
    try:
        found = tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        return key, value
    return key, found if isinstance(found, str | list | dict) or not holds_text(key) else value


def _images(
    table: dict[str, Any],
    path: Path | None,
    folder: Path,
    environment: Mapping[str, str],
    settings: Mapping[str, object],
) -> tuple[Image, ...]:
    several = table.get("image")
    for own in several if isinstance(several, list) else []:
        if isinstance(own, dict):
            own.update(_overridden(own, settings))
    if not several:
        table = _overridden(table, settings)
    allowed = table.get("variables", [])
    names = {name for name in allowed if isinstance(name, str)} if isinstance(allowed, list) else set()
    try:
        table = _expanded(table, partial(_value_of, names=names, environment=environment, where=path))
    except RecursionError:
        raise RecipeError(f"{path or 'the command line'}: tables lie in tables without end") from None
    recipe = _validated(Recipe, table, path)
    common = {key: value for key, value in table.items() if key not in {"image", "variables"}}
    places: list[tuple[str | int, ...]] = [("image", number) for number in range(len(recipe.image))]
    tables = [_merged(common, own) for own in table["image"]] if recipe.image else [common]
    images = tuple(
        _placed(_validated(Image, cell, path), folder, path, at)
        for at, one in zip(places or [()], tables, strict=True)
        for cell in _cells(one, settings, path, several=bool(recipe.image))
    )
    _check_names(images, path)
    return images


def _cells(
    table: dict[str, Any], settings: Mapping[str, object], path: Path | None, *, several: bool
) -> list[dict[str, Any]]:
    """Return the tables of a matrix's images; a single image without a name is named after the file."""
    named = "" if path is None else stem(path)
    if "matrix" not in table:
        return [table if several or path is None else {"name": named, **table}]
    from imagekit.recipe.matrix import cells  # noqa: PLC0415 -- few recipes have one

    return cells(table, settings, str(path or "the command line"), named)


def _validated(model: type[_Table], table: dict[str, Any], path: Path | None) -> _Table:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        from imagekit.recipe.explain import explained  # noqa: PLC0415 -- a parser that only errors need

        raise explained(error, path) from None


def _placed(image: Image, folder: Path, path: Path | None, at: tuple[str | int, ...] = ()) -> Image:
    """Return the image with its name, and its paths relative to the recipe's folder made absolute."""
    if image.kernel is None and image.root.source is None:
        raise RecipeError(f"{path or 'the command line'}: no kernel is named", hint='kernel = "app.xen"')
    if image.name and "{" in image.name:
        raise RecipeError(f"{path or 'the command line'}: name: {image.name!r} takes the values of a matrix")
    check_disk(image, str(path or "the command line"))
    _check_mbr(image, path, at)
    _check_elements(image, path)
    _check_system(image, path, at)
    files = tuple(item.model_copy(update={"source": _found(item.source, folder)}) for item in image.root.files)
    ssh = tuple(item.model_copy(update={"keys": _keys(item.keys, folder)}) for item in image.root.ssh)
    xcp = image.publish.xcp.model_copy(update=_paths(image.publish.xcp, ("credentials", "ca"), folder))
    built = image.root.diskimage_builder
    built = built.model_copy(update={"elements_path": tuple(_found(one, folder) for one in built.elements_path)})
    root: dict[str, object] = {"files": files, "ssh": ssh, "diskimage_builder": built}
    if image.root.tree is not None:
        root["source"] = _found(image.root.tree, folder)
    keys = _paths(image.ami, ("private_key", "cert", "ec2_cert", "secrets"), folder)
    return image.model_copy(
        update={
            "ami": image.ami.model_copy(update=keys),
            "publish": image.publish.model_copy(update={"xcp": xcp}),
            "name": image.name or stem(image.kernel or Path(image.root.source or "")),
            "kernel": _found(image.kernel, folder) if image.kernel else None,
            "ramdisk": _found(image.ramdisk, folder) if image.ramdisk else None,
            "root": image.root.model_copy(update=root),
        }
    )


def _paths(table: Model, names: Iterable[str], folder: Path) -> dict[str, Path]:
    """Return those of a table's paths that are set, made absolute."""
    found = {name: getattr(table, name) for name in names}
    return {name: _found(path, folder) for name, path in found.items() if path is not None}


def _keys(keys: Iterable[str | Path], folder: Path) -> tuple[str | Path, ...]:
    """Return public keys as they are, and the files of others where they lie."""
    return tuple(_found(key, folder) if isinstance(key, Path) else key for key in keys)


def _check_system(image: Image, path: Path | None, at: tuple[str | int, ...]) -> None:
    """What is done to a system wants one."""
    for name in ("run", "ssh", "hostname"):
        if getattr(image.root, name) and image.root.source is None:
            from imagekit.recipe.explain import place  # noqa: PLC0415 -- a parser that only errors need

            raise RecipeError(
                f"{place(path, (*at, 'root', name), ('root', name))}: there is no system to do it to",
                hint='root.from = "tree.tar" names one',
            )


def _check_mbr(image: Image, path: Path | None, at: tuple[str | int, ...]) -> None:
    """An MBR counts sectors of 512 bytes in 32 bits, and the first MiB is its own."""
    sizes = (("disk", image.disk.size, MBR_LARGEST), ("filesystem", image.filesystem.size, MBR_LARGEST - MIB))
    for table, size, largest in sizes:
        if image.disk.table == "mbr" and size is not None and size > largest:
            from imagekit.recipe.explain import place  # noqa: PLC0415 -- a parser that only errors need

            raise RecipeError(
                f"{place(path, (*at, table, 'size'), (table, 'size'))}: an MBR holds 2 TiB at most",
                details=f"{table}.size is {size} bytes",
                hint="a BIOS boots no larger disk" if image.boot == "hvm" else 'disk.layout = "gpt" holds more',
            )


def _check_elements(image: Image, path: Path | None) -> None:
    if image.root.source == DISKIMAGE_BUILDER and not image.root.diskimage_builder.elements:
        raise RecipeError(
            f"{path or 'the command line'}: root.from is {DISKIMAGE_BUILDER}, and no elements are named",
            hint='[root.diskimage-builder] elements = ["debian-minimal", "xen-pv-guest"]',
        )


def _found(path: Path, folder: Path) -> Path:
    try:
        return folder / path.expanduser()
    except RuntimeError as error:
        raise RecipeError(f"{path}: nobody's home", details=str(error)) from None


def _check_names(images: tuple[Image, ...], path: Path | None) -> None:
    names = [image.name for image in images]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise RecipeError(
            f"{path}: two images are named {double!r}", hint='give each [[image]] its own name = "…"'
        )


def _merged(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(common)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _overridden(table: Mapping[str, Any], settings: Mapping[str, object]) -> dict[str, Any]:
    result = dict(table)
    for dotted, value in settings.items():
        *parents, last = dotted.split(".")
        place = result
        for parent in parents:
            below = place.get(parent, {})
            if not isinstance(below, dict):
                raise UsageError(f"--set {dotted}: {parent} is no table")
            place[parent] = place = dict(below)
        place[last] = value
    return result


def _expanded(value: Any, replace: Any) -> Any:  # noqa: ANN401 -- TOML is what it is
    if isinstance(value, str):
        return _VARIABLE.sub(replace, value)
    if isinstance(value, dict):
        return {key: _expanded(below, replace) for key, below in value.items()}
    if isinstance(value, list):
        return [_expanded(below, replace) for below in value]
    return value


def _value_of(match: re.Match[str], names: set[str], environment: Mapping[str, str], where: Path | None) -> str:
    if match[0] == "$${":
        return "${"
    name = match[1]
    if name not in names:
        raise RecipeError(
            f"{where or 'the command line'}: ${{{name}}} is not among the recipe's variables",
            hint=f'variables = ["{name}"] at the top of a recipe lets it in; $${{ stands for ${{ itself',
        )
    if name not in environment:
        raise RecipeError(f"{where or 'the command line'}: the variable {name} is not set in the environment")
    return environment[name]


def epoch(environment: Mapping[str, str] = os.environ) -> int:
    """Return SOURCE_DATE_EPOCH, or 2000-01-01T00:00:00Z: the time of everything that is made."""
    text = environment.get("SOURCE_DATE_EPOCH", "946684800")
    if not re.fullmatch("[0-9]{1,10}", text) or not 0 < int(text) < 1 << 32:
        raise UsageError(
            f"SOURCE_DATE_EPOCH={text!r} is no number of seconds since 1970, 1 at least and 2^32 at most"
        )
    return int(text)
