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
_OURS = ("linux", "amd64")
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"


def is_layout(path: Path) -> bool:
    """Tell whether a folder is an OCI image layout."""
    return path.is_dir() and (path / "oci-layout").is_file()


def layers(layout: Path, tag: str | None = None) -> Iterator[Path]:
    """Yield the tars of the layers, the lowest first; RecipeError for what is none or damaged.

    `tag` chooses among several images.
    """
    with _explained(layout):
        manifest = _document(_manifest(layout, tag))
        _check_machine(_document(_blob(layout, manifest["config"])), layout)
        described = manifest["layers"]
        for layer in described:
            if not _LAYER.fullmatch(str(layer["mediaType"])):
                raise RecipeError(f"{layout}: a layer is of a kind that is not read", details=layer["mediaType"])
        for layer in described:
            yield _blob(layout, layer)


def image_digest(layout: Path, tag: str | None = None) -> str:
    """Return the digest of the image that is read, its manifest's SHA-256; RecipeError for what is none."""
    with _explained(layout):
        return _manifest(layout, tag).name


def _manifest(layout: Path, tag: str | None) -> Path:
    """Return the file of the manifest, through the indexes that lead to it; the first of them knows tags."""
    path = layout / "index.json"
    for _ in range(_DEEPEST):
        path, tag = _blob(layout, _chosen(_document(path), layout, tag)), None
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


def _chosen(index: Mapping[str, Any], layout: Path, tag: str | None) -> Mapping[str, Any]:
    """Return the descriptor of the image for linux/amd64, or of the only one that says nothing of that."""
    manifests: list[Mapping[str, Any]] = index["manifests"]
    tags = ", ".join(filter(None, map(_tag, manifests)))
    if tag is not None:
        manifests = [one for one in manifests if _tag(one) == tag]
        if not manifests:
            raise RecipeError(f"{layout} has no image {tag}", details=f"there: {tags or 'none with a name'}"[:500])
    wanted = [one for one in manifests if _platform(one) == _OURS]
    wanted = wanted or [one for one in manifests if _platform(one) == ("", "")]
    if not wanted:
        there = ", ".join(sorted("/".join(_platform(one)) for one in manifests)) or "none"
        raise RecipeError(f"{layout} has no image for linux/amd64", details=f"there: {there}"[:200])
    told_apart = {_tag(one) for one in wanted} != {""} or _platform(wanted[0]) != _OURS
    if told_apart and len({one["digest"] for one in wanted}) > 1:
        raise RecipeError(
            f"{layout} has several images",
            details=f"there: {tags or 'none with a name'}"[:500],
            hint=f'root.tag = "{_tag(wanted[0]) or "…"}" takes one',
        )
    return wanted[0]


def _tag(descriptor: Mapping[str, Any]) -> str:
    """Return the name that an image has in its layout; skopeo writes TAG of oci:FOLDER:TAG there."""
    return str((descriptor.get("annotations") or {}).get("org.opencontainers.image.ref.name", ""))


def _check_machine(config: Mapping[str, Any], layout: Path) -> None:
    """Refuse an image of another machine (OCI image-spec 1.1, config.md), whatever its index says."""
    told = str(config.get("os", "linux")), str(config.get("architecture", "amd64"))
    if told != _OURS:
        raise RecipeError(
            f"{layout} has an image for {'/'.join(told)}, not for linux/amd64"[:300],
            hint="skopeo copy --override-os linux --override-arch amd64 docker://… oci:folder",
        )


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
