"""The recipe: what to build, as typed models. TOML in, JSON Schema out.

A recipe with `[[image]]` tables makes one image for each; what stands outside of them holds for all. Without such
a table it makes one image, named after the file.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from imagekit.errors import RecipeError, UsageError

MIB = 1 << 20
_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_SIZE = re.compile(r"(\d+)\s*([a-z]*)", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LARGEST = 4 << 20


def parse_size(value: object) -> int:
    """Return a size in bytes: a number, or a text such as "64MiB"; ValueError for what is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(str(value).strip())
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError('a size is a number of bytes, or a text like "64MiB" or "2GiB"')
    return int(match[1]) * _UNITS[match[2].lower()]


def _size_or_auto(value: object) -> int | None:
    return None if value == "auto" else parse_size(value)


def _in_image(value: str) -> str:
    if not value.startswith("/") or ".." in value.split("/"):
        raise ValueError("a path in the image begins with / and has no '..'")
    return value


_SIZE_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+ *[A-Za-z]*$"}]}
Size = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=int | str), Field(ge=0)]
SizeOrAuto = Annotated[int | None, BeforeValidator(_size_or_auto, json_schema_input_type=int | str)]


class Model(BaseModel):
    """Every table of a recipe: unknown keys are refused, values are not coerced, nothing changes once read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Files(Model):
    """Files of the user's own: a folder, a tar or a single file, and where it goes in the image."""

    source: Path = Field(
        alias="from", strict=False, description="A folder, a tar (plain, gz, bz2, xz, zst) or a file."
    )
    to: Annotated[str, BeforeValidator(_in_image, json_schema_input_type=str)] = Field(
        default="/", description="Where it goes. A file goes into a path that ends with /, else it gets that name."
    )


class Root(Model):
    """What goes into the file system beside the kernel."""

    kernel: Annotated[str, BeforeValidator(_in_image, json_schema_input_type=str)] | None = Field(
        default=None, description="The kernel's path in the image. Default: /boot/NAME.xen."
    )
    files: tuple[Files, ...] = Field(
        default=(), strict=False, description="In order; later ones replace earlier ones."
    )


class Filesystem(Model):
    """The file system."""

    type: Literal["ext2", "ext3", "ext4", "fat16", "fat32"] = Field(
        default="ext2", description="Amazon's PV-GRUB reads no FAT."
    )
    size: SizeOrAuto = Field(default=None, description='Bytes, "64MiB", or "auto": what the disk has room for.')
    free: Size = Field(
        default=MIB, description="Free space to leave, where the size is automatic. 5 % come on top."
    )
    label: str = Field(
        default="", max_length=16, pattern=r"^[A-Za-z0-9_.-]*$", description="11 characters on FAT."
    )
    block_size: Literal[0, 1024, 2048, 4096] = Field(
        default=0, description="Bytes (FAT: a cluster). 0: 1024 below 512 MiB, else 4096."
    )


class Disk(Model):
    """The disk around the file system."""

    layout: Literal["plain", "mbr", "gpt"] = Field(
        default="plain", description="plain: the file system is the whole disk. GPT wants PV-GRUB 1.04 or later."
    )
    size: SizeOrAuto = Field(default=None, description='Bytes, "2GiB", or "auto": what the content needs.')
    path: str | None = Field(
        default=None, description="Where the host keeps the image. Default: /var/lib/xen/images/NAME.raw."
    )


class Vif(Model):
    """A virtual network interface, in the words of xl's network configuration."""

    bridge: str | None = None
    mac: str | None = None
    ip: str | None = None
    script: str | None = None


class ExtraDisk(Model):
    """One more disk of the guest, which lies on the host already."""

    path: str
    vdev: str
    access: Literal["ro", "rw"] = "rw"
    format: Literal["raw", "qcow2", "vhd"] = "raw"


class Xen(Model):
    """What only the xen target reads."""

    loader: Literal["pygrub", "direct"] = Field(
        default="pygrub",
        description="pygrub takes the kernel from the disk; direct takes it from a file on the host.",
    )
    kernel_path: str | None = Field(
        default=None, description="direct: the kernel on the host. Default: /var/lib/xen/images/NAME.xen."
    )


class Image(Model):
    """One image: a kernel, what goes with it, and the systems to build it for."""

    name: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="Default: the file's stem."
    )
    kernel: Path | None = Field(default=None, strict=False, description="The .xen file. Relative to the recipe.")
    ramdisk: Path | None = Field(default=None, strict=False, description="An initrd, for kernels that take one.")
    targets: tuple[str, ...] = Field(default=("xen",), strict=False, description="`imagekit targets` lists them.")
    boot: Literal["auto", "pv", "pvh"] = Field(
        default="auto", description="auto: PV where the kernel can, else PVH."
    )
    cmdline: str = Field(default="", max_length=4095, description="The kernel's command line, without its path.")
    memory: Annotated[Size, Field(ge=4 * MIB)] = Field(default=64 * MIB, description="Of the guest. Whole MiB.")
    vcpus: int = Field(default=1, ge=1, le=512)
    root: Root = Root()
    filesystem: Filesystem = Filesystem()
    disk: Disk = Disk()
    vif: tuple[Vif, ...] = Field(default=(), strict=False)
    extra_disk: tuple[ExtraDisk, ...] = Field(default=(), strict=False)
    xen: Xen = Xen()

    @field_validator("memory")
    @classmethod
    def _whole_mib(cls, value: int) -> int:
        if value % MIB:
            raise ValueError("memory is given to a guest in whole MiB")
        return value


class Recipe(Image):
    """A whole recipe file."""

    variables: tuple[str, ...] = Field(
        default=(), strict=False, description="Environment variables that ${NAME} in a text may stand for."
    )
    image: tuple[Image, ...] = Field(default=(), strict=False, description="Several images in one file.")


def schema() -> dict[str, Any]:
    """Return the recipe's JSON Schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Recipe.model_json_schema(by_alias=True),
        "title": "imagekit recipe",
    }


def from_kernel(kernel: Path, settings: Mapping[str, object], environment: Mapping[str, str]) -> tuple[Image, ...]:
    """Return the image of a bare kernel, with settings from the command line."""
    table = _overridden({"kernel": str(kernel.absolute()), "name": stem(kernel)}, settings)
    return _images(table, None, Path.cwd(), environment)


def read(path: Path, settings: Mapping[str, object], environment: Mapping[str, str]) -> tuple[Image, ...]:
    """Return the images of a recipe file, with settings from the command line on top.

    RecipeError names the file, the key and the line.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise RecipeError(f"{path} is too large for a recipe", details=f"over {_LARGEST >> 20} MiB")
        table = tomllib.loads(data.decode())
    except OSError as error:
        raise RecipeError(f"{path} cannot be read", details=str(error.strerror)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(f"{path} is no TOML", details=str(error)) from error
    for image in table.get("image", []) if isinstance(table.get("image"), list) else []:
        if isinstance(image, dict):
            image.update(_overridden(image, settings))
    if "image" not in table:
        table = _overridden(table, settings)
    table.setdefault("name", stem(path))
    return _images(table, path, path.parent, environment)


def stem(path: Path) -> str:
    """Return the image name that a file's name gives: without its endings, and of plain characters."""
    name = re.sub(r"(\.(gz|bz2|xz|lzo|zst|xen|elf|bin|toml|raw))+$", "", path.name)
    return re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-")[:63] or "image"


def setting(text: str) -> tuple[str, object]:
    """Return (key, value) of a `key=value` from the command line; the value is TOML, or else a text."""
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", key):
        raise UsageError(f"--set wants key=value, not {text!r}", hint="--set filesystem.type=ext4")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _images(
    table: dict[str, Any], path: Path | None, folder: Path, environment: Mapping[str, str]
) -> tuple[Image, ...]:
    allowed = table.get("variables", [])
    names = {name for name in allowed if isinstance(name, str)} if isinstance(allowed, list) else set()
    table = _expanded(table, partial(_value_of, names=names, environment=environment, where=path))
    try:
        recipe = Recipe.model_validate(table)
    except ValidationError as error:
        raise _explained(error, path) from None
    common = {key: value for key, value in table.items() if key not in {"image", "variables"}}
    if not recipe.image:
        return (_placed(Image.model_validate(common), folder, path),)
    common.pop("name", None)
    images = tuple(_placed(Image.model_validate(_merged(common, image)), folder, path) for image in table["image"])
    _check_names(images, path)
    return images


def _placed(image: Image, folder: Path, path: Path | None) -> Image:
    """Return the image with its name, and its paths relative to the recipe's folder made absolute."""
    if image.kernel is None:
        raise RecipeError(f"{path}: no kernel is named", hint='kernel = "app.xen"')
    files = tuple(
        item.model_copy(update={"source": folder / item.source.expanduser()}) for item in image.root.files
    )
    return image.model_copy(
        update={
            "name": image.name or stem(image.kernel),
            "kernel": folder / image.kernel.expanduser(),
            "ramdisk": folder / image.ramdisk.expanduser() if image.ramdisk else None,
            "root": image.root.model_copy(update={"files": files}),
        }
    )


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
    name = match[1]
    if name not in names:
        raise RecipeError(
            f"{where or 'the command line'}: ${{{name}}} is not among the recipe's variables",
            hint=f'variables = ["{name}"] at the top of the recipe lets it in',
        )
    if name not in environment:
        raise RecipeError(f"{where}: the variable {name} is not set in the environment")
    return environment[name]


def _explained(error: ValidationError, path: Path | None) -> RecipeError:
    from imagekit import locate  # noqa: PLC0415 -- a parser that is only needed here

    lines = []
    hint = ""
    text = path.read_text(errors="replace") if path else ""
    for problem in error.errors(include_url=False, include_context=False)[:5]:
        keys = tuple(problem["loc"])
        line = locate.line_of(text, keys) if path else None
        place = ".".join(str(key) for key in keys)
        lines.append(f"{path or 'the command line'}{f':{line}' if line else ''}: {place}: {_words(problem)}")
        if problem["type"] == "extra_forbidden":
            hint = hint or _did_you_mean(keys)
    return RecipeError(lines[0], details="\n".join(lines[1:]), hint=hint)


def _words(problem: Any) -> str:  # noqa: ANN401 -- pydantic's ErrorDetails
    if problem["type"] == "extra_forbidden":
        return "no such key"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{message[0].lower()}{message[1:]} (is {problem['input']!r:.80})"


def _did_you_mean(keys: tuple[int | str, ...]) -> str:
    model: type[BaseModel] = Recipe
    for key in keys[:-1]:
        if isinstance(key, str):
            model = _table(model, key) or model
    known = [field.alias or name for name, field in model.model_fields.items()]
    close = difflib.get_close_matches(str(keys[-1]), known, 1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(known))}"


def _table(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    field = next((field for name, field in model.model_fields.items() if key in {name, field.alias}), None)
    kinds = (field.annotation, *getattr(field.annotation, "__args__", ())) if field else ()
    return next(
        (
            cast("type[BaseModel]", kind)
            for kind in kinds
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        ),
        None,
    )


def epoch(environment: Mapping[str, str] = os.environ) -> int:
    """Return SOURCE_DATE_EPOCH, or 2000-01-01T00:00:00Z: the time of everything that is made."""
    text = environment.get("SOURCE_DATE_EPOCH", "946684800")
    if not text.isdigit() or not 0 < int(text) < 1 << 32:
        raise UsageError(f"SOURCE_DATE_EPOCH={text!r} is no number of seconds since 1970")
    return int(text)
