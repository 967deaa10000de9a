"""Which form `root.from` has: a tar, an OCI image layout, a folder; what is none of them is refused, and why."""

from collections.abc import Container
from pathlib import Path
from typing import Literal

from imagekit.errors import RecipeError
from imagekit.root import oci
from imagekit.root.sources import is_tar, packed

Form = Literal["tar", "layout", "folder"]
_MAGIC, _AT = b"ustar", 257  # of a tar's header, POSIX and GNU
_ANY = "a tar, an OCI image layout or a folder"
_SKOPEO = "skopeo copy oci-archive:FILE.tar oci:FOLDER makes a layout of it; docker-archive: and dir: as well"


def form(path: Path) -> Form:
    """Return the form of a system; RecipeError for what is none."""
    if oci.is_layout(path):
        return "layout"
    if path.is_dir():
        _check_folder(path)
        return "folder"
    if is_tar(path) or packed(path) or _has_magic(path):
        return "tar"
    raise RecipeError(f"root.from: {path} is no system", details=f"a system is {_ANY}", hint=_hint(path))


def check_unpacked(names: Container[str], called: str) -> None:
    """RecipeError for members of a tar, or a folder, that are an image in a registry's form, packed away."""
    if "index.json" in names and "oci-layout" in names:
        raise RecipeError(f"root.from: {called} is an OCI image, not a system's tree", hint=_SKOPEO)
    if "manifest.json" in names and ("repositories" in names or "version" in names):
        raise RecipeError(f"root.from: {called} is a container's image, not a system's tree", hint=_SKOPEO)


def _check_folder(path: Path) -> None:
    names = {entry.name for entry in path.iterdir()}
    if not names:
        raise RecipeError(f"root.from: {path} is an empty folder", hint=f"a system is {_ANY}")
    if {"index.json", "blobs"} <= names:
        raise RecipeError(
            f"root.from: {path} is an OCI image layout without its file oci-layout",
            hint="copy it again, as a whole",
        )
    check_unpacked(names, str(path))


def _has_magic(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(_AT)
        return file.read(len(_MAGIC)) == _MAGIC


def _hint(path: Path) -> str:
    if path.suffix == ".toml":
        return f"imagekit build {path.name} builds a recipe"
    return f'kernel = "{path.name}" boots a kernel' if path.suffix in {".xen", ".elf", ".bin"} else ""
