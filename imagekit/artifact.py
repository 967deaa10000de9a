"""What a build leaves: the artifact, and the sidecar that describes it beside it.

A sidecar holds nothing of the place or time of its making, so it is as reproducible as the image.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from imagekit.errors import VerificationError
from imagekit.plan import Json
from imagekit.sparse import BLOCK, BlockMap

SCHEMA = "imagekit/artifact/1"
SUFFIX = ".imagekit.json"
"""A sidecar's name is its main file's name and this."""

_LARGEST = 64 << 20
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Artifact:
    """One made artifact: where its main file and companions lie, its digest, and how it came about.

    `size` is the length in bytes, `on_disk` what it takes there; `seconds` is the time from the start of the build
    until it was in place; `cached` tells that no step had to run for it.
    """

    image: str
    target: str
    path: Path
    companions: tuple[Path, ...]
    digest: str
    size: int
    on_disk: int
    seconds: float
    cached: bool

    def to_json(self) -> dict[str, Json]:
        """Return it as one JSON object, as `build --json` prints it."""
        return {
            "image": self.image,
            "target": self.target,
            "path": str(self.path),
            "companions": [str(path) for path in self.companions],
            "digest": self.digest,
            "size": self.size,
            "on_disk": self.on_disk,
            "seconds": round(self.seconds, 3),
            "cached": self.cached,
        }


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A main file that holds the disk in another form (`vhd`, `xva`), or a kernel: its own digest and bytes."""

    form: str
    digest: str
    length: int


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The description of one artifact.

    `layout` says where things lie on the disk (bytes), `boot` how it boots, `kernel` is the facts of the kernel
    with its digest. `digest` and `length` are of the disk, which is the main file, or in the main file that
    `file` describes; without a disk, and a `layout`, they are of the kernel in that file. `companions` maps suffix
    to digest. `blocks` is there where the target's upload wants it: (index, SHA-256) of each 512 KiB block that is
    not all zero.
    """

    image: str
    target: str
    architecture: str
    kernel: Mapping[str, Json]
    layout: Mapping[str, Json] | None
    boot: Mapping[str, Json]
    digest: str
    length: int
    companions: Mapping[str, str]
    blocks: BlockMap | None = None
    file: Wrapped | None = None

    def to_bytes(self) -> bytes:
        """Return the sidecar's file content: JSON, sorted keys, one line at the end."""
        content: dict[str, Json] = {
            "schema": SCHEMA,
            "image": self.image,
            "target": self.target,
            "architecture": self.architecture,
            "kernel": self.kernel,
            "layout": self.layout,
            "boot": self.boot,
            "digest": self.digest,
            "length": self.length,
            "companions": self.companions,
        }
        if self.file is not None:
            content["file"] = {"form": self.file.form, "digest": self.file.digest, "length": self.file.length}
        if self.blocks is not None:
            content["block_size"] = BLOCK
            content["blocks"] = [[index, block.hex()] for index, block in self.blocks.blocks]
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def read(cls, main: Path) -> "Sidecar | None":
        """Read the sidecar of a main file, or None where there is none; VerificationError when it is damaged."""
        path = sidecar_path(main)
        try:
            with path.open("rb") as file:
                data = file.read(_LARGEST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise VerificationError(f"{path} cannot be read", details=str(error.strerror)) from error
        if len(data) > _LARGEST:
            raise VerificationError(f"{path} is too large for a sidecar", details=f"over {_LARGEST} bytes")
        try:
            return cls._parse(json.loads(data))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise VerificationError(
                f"{path} is no sidecar of this version",
                details=f"{type(error).__name__}: {error}",
                hint="build the image again, or remove the sidecar and name the --target",
            ) from None

    @classmethod
    def _parse(cls, content: dict[str, Json]) -> "Sidecar":
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']!r}, not {SCHEMA!r}")
        length = _typed(content["length"], int)
        blocks = None
        if "blocks" in content:
            pairs = [
                (_typed(index, int), bytes.fromhex(digest)) for index, digest in _typed(content["blocks"], list)
            ]
            blocks = BlockMap(length, tuple(pairs))
            if blocks.digest != content["digest"]:
                raise ValueError("its blocks are not those of its digest")
        return cls(
            image=_typed(content["image"], str),
            target=_typed(content["target"], str),
            architecture=_typed(content["architecture"], str),
            kernel=_typed(content["kernel"], dict),
            layout=None if content["layout"] is None else _typed(content["layout"], dict),
            boot=_typed(content["boot"], dict),
            digest=_typed(content["digest"], str),
            length=length,
            companions={
                suffix: _typed(digest, str) for suffix, digest in _typed(content["companions"], dict).items()
            },
            blocks=blocks,
            file=_wrapped(_typed(content["file"], dict)) if "file" in content else None,
        )


def _wrapped(content: Mapping[str, Json]) -> Wrapped:
    form, digest = _typed(content["form"], str), _typed(content["digest"], str)
    return Wrapped(form, digest, _typed(content["length"], int))


def sidecar_path(main: Path) -> Path:
    """Return where a main file's sidecar lies."""
    return main.with_name(main.name + SUFFIX)


def _typed(value: object, kind: type[_T]) -> _T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r:.60} is no {kind.__name__}")
    return value
