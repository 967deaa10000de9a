"""An OCI image layout as one tree: the layers of its first image for linux/amd64, applied in order.

OCI image-spec 1.1, image-layout.md, manifest.md and layer.md: blobs lie in blobs/sha256/HEX; in a layer,
`.wh.NAME` takes NAME of lower layers away, and `.wh..wh..opq` all that is in its folder there.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imagekit.errors import RecipeError

_INDEXES = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}
_LAYER = re.compile(
    r"application/vnd\.(oci\.image\.layer\.v1\.tar(\+gzip|\+zstd)?|docker\.image\.rootfs\.diff\.tar\.gzip)"
)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_LARGEST = 4 << 20  # bytes of a JSON document
_DEEPEST = 4  # indexes in indexes
_PIECE = 1 << 20
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"


def is_layout(path: Path) -> bool:
    """Tell whether a folder is an OCI image layout."""
    return path.is_dir() and (path / "oci-layout").is_file()


def layers(layout: Path) -> Iterator[Path]:
    """Yield the tars of the layers, the lowest first; RecipeError for what is none or damaged."""
    with _explained(layout):
        described = _document(_manifest(layout))["layers"]
        for layer in described:
            if not _LAYER.fullmatch(str(layer["mediaType"])):
                raise RecipeError(f"{layout}: a layer is of a kind that is not read", details=layer["mediaType"])
        for layer in described:
            yield _blob(layout, layer)


def image_digest(layout: Path) -> str:
    """Return the digest of the image that is read, its manifest's SHA-256; RecipeError for what is none."""
    with _explained(layout):
        return _manifest(layout).name


def _manifest(layout: Path) -> Path:
    """Return the file of the manifest, through the indexes that lead to it."""
    path = layout / "index.json"
    for _ in range(_DEEPEST):
        path = _blob(layout, _chosen(_document(path), layout))
        manifest = _document(path)
        if manifest.get("mediaType") not in _INDEXES and "manifests" not in manifest:
            break
    return path


@contextmanager
def _explained(layout: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RecipeError(
            f"{layout} is no OCI image layout", details=f"{type(error).__name__}: {error}"[:200]
        ) from error
    except OSError as error:
        raise RecipeError(f"{layout} is not whole", details=f"{error.filename}: {error.strerror}") from error


def _chosen(index: Mapping[str, Any], layout: Path) -> Mapping[str, Any]:
    """Return the descriptor of the image for linux/amd64, or of the only one."""
    manifests: list[Mapping[str, Any]] = index["manifests"]
    wanted = [one for one in manifests if _platform(one) == ("linux", "amd64")]
    if not wanted and len(manifests) == 1 and _platform(manifests[0]) == ("", ""):
        wanted = manifests
    if not wanted:
        there = ", ".join(sorted("/".join(_platform(one)) for one in manifests)) or "none"
        raise RecipeError(f"{layout} has no image for linux/amd64", details=f"there: {there}"[:200])
    return wanted[0]


def _platform(descriptor: Mapping[str, Any]) -> tuple[str, str]:
    platform = descriptor.get("platform") or {}
    return str(platform.get("os", "")), str(platform.get("architecture", ""))


def _document(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"{path.name} is larger than {_LARGEST} bytes")
    found = json.loads(data)
    if not isinstance(found, dict):
        raise TypeError(f"{path.name} is no object")
    return found


def _blob(layout: Path, descriptor: Mapping[str, Any]) -> Path:
    """Return the file of a descriptor, held against its digest and size."""
    match = _DIGEST.fullmatch(descriptor["digest"])
    if match is None:
        raise RecipeError(f"{layout}: a digest that is not read", details=str(descriptor["digest"])[:100])
    path = layout / "blobs" / "sha256" / match[1]
    summed, length = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            summed.update(piece)
            length += len(piece)
    if summed.hexdigest() != match[1] or length != descriptor["size"]:
        raise RecipeError(
            f"{layout}: a blob is not what its digest says",
            details=f"{length} bytes, sha256:{summed.hexdigest()}; {descriptor['size']} bytes, {match[0]} is said",
            hint="fetch it again",
        )
    return path
