"""The recipe as typed models: what may be said, in which words, and what holds where nothing is said."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

MIB = 1 << 20
_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_SIZE = re.compile(r"(\d+)\s*([a-z]*)", re.IGNORECASE)


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
