"""Operating systems that are made here: what a recipe says of them."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from imagekit.recipe.base import Model
from imagekit.recipe.values import PATH, HostPath, host, text_schema

DISKIMAGE_BUILDER: Literal["diskimage-builder"] = "diskimage-builder"
KERNEL = "kernel"

# All of them become words of a shell.
_ELEMENT = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}"
_PACKAGE = r"[A-Za-z0-9][A-Za-z0-9.+:~=_-]{0,199}"
_RELEASE = r"[a-z0-9][a-z0-9.-]{0,39}"
# These are imagekit's: where a run works, and what other keys say.
_OURS = (
    "HOME|USER|PATH|TMPDIR|TMP_DIR|ELEMENTS_PATH|SOURCE_DATE_EPOCH|IMAGEKIT_FILESYSTEM|LC_ALL|TZ|ARCH|break|"
    "DIB_RELEASE|DIB_IMAGE_CACHE|DIB_LOCKFILES|DIB_NO_TMPFS|DIB_JOURNAL_SIZE|DIB_PYTHON_EXEC|FS_TYPE|ROOT_LABEL"
)
_SECRET = r"[A-Za-z0-9_]*(PASSWORD|PASSWD|SECRET|TOKEN)"  # noqa: S105 -- a pattern, not a secret
_VARIABLE = rf"(?!({_OURS})$)(?!{_SECRET})[A-Za-z_][A-Za-z0-9_]*"


def _word(what: str, pattern: str) -> AfterValidator:
    def checked(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"no {what}")
        return value

    return AfterValidator(checked)


def _variable(name: str) -> str:
    if re.fullmatch(_SECRET + ".*", name):
        raise ValueError("what is set here can be read in the recipe, the log and perhaps the tree: no secrets")
    if re.fullmatch(_OURS, name):
        raise ValueError("imagekit sets this one")
    if not re.fullmatch(_VARIABLE, name):
        raise ValueError("no name of a variable")
    return name


def _text(value: str) -> str:
    if "\0" in value:
        raise ValueError("no text of a variable")
    return value


def _tree(value: object) -> object:
    if not isinstance(value, str | Path):
        raise ValueError("input is not a valid path")  # noqa: TRY004 -- pydantic's
    if value in {KERNEL, DISKIMAGE_BUILDER}:
        return None if value == KERNEL else value
    return Path(host(value))


Element = Annotated[str, _word("name of an element", _ELEMENT), text_schema(_ELEMENT)]
Package = Annotated[str, _word("name of a package", _PACKAGE), text_schema(_PACKAGE)]
Release = Annotated[str, _word("name of a release", _RELEASE), text_schema(_RELEASE)]
Environment = Annotated[
    dict[Annotated[str, AfterValidator(_variable)], Annotated[str, AfterValidator(_text)]],
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": f"^{_VARIABLE}$"},
            "additionalProperties": {"type": "string", "pattern": r"^[^\u0000]*$"},
        }
    ),
]
RootFrom = Annotated[
    Path | Literal["diskimage-builder"] | None,
    PlainValidator(_tree),
    WithJsonSchema({"type": "string", "pattern": f"^{PATH}$"}),
]
"""A path, or a keyword: "kernel" is None."""


class DiskImageBuilder(Model):
    """An operating system's tree by OpenStack's diskimage-builder, which takes root."""

    elements: tuple[Element, ...] = Field(
        default=(),
        strict=False,
        description="Elements: these and what they need, without `base` unless it is named. One provides the "
        "system, as debian-minimal does.",
    )
    elements_path: tuple[HostPath, ...] = Field(
        default=(),
        strict=False,
        description="Folders with elements of your own, which go before others.",
    )
    packages: tuple[Package, ...] = Field(default=(), strict=False, description="Packages to install as well.")
    release: Release | None = Field(
        default=None, description="Of the system, such as bookworm: DIB_RELEASE. Default: the element's."
    )
    environment: Environment = Field(
        default_factory=dict,
        description="Variables for elements: DIB_DISTRIBUTION_MIRROR and others. No secrets. Mirrors that are not "
        "named are those of the machine's own apt sources.",
    )
    arch: Literal["amd64"] = "amd64"
