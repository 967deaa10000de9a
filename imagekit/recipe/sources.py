"""The files that a recipe names: they are there, or it is told where they are named."""

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from imagekit.errors import RecipeError
from imagekit.recipe.models import Image
from imagekit.recipe.public_key import KEY_HINT, public_key
from imagekit.recipe.systems import DISKIMAGE_BUILDER


def check_sources(images: Sequence[Image], path: Path | None) -> None:
    """RecipeError, with file, line and key, for a file that is not there; without a recipe, for the kernel's."""
    for number, image in enumerate(images):
        for keys, source in named_sources(image):
            try:
                source.stat()
            except OSError as error:
                from imagekit.recipe.explain import place  # noqa: PLC0415 -- a parser that only errors need

                where = place(path, ("image", number, *keys), keys)
                asked = path is None and keys == ("kernel",)  # as an argument, which is no key
                raise RecipeError(
                    f"{source} cannot be read" if asked else f"{where}: {source} cannot be read",
                    details=str(error.strerror),
                    hint=_hint(source, keys),
                ) from error
        _check_keys(image, number, path)


def _hint(source: Path, keys: tuple[str | int, ...]) -> str:
    """Say what was meant by forms of other tools."""
    if keys != ("root", "from"):
        return ""
    folder, colon, tag = str(source).rpartition(":")
    if difflib.get_close_matches(source.name, [DISKIMAGE_BUILDER], 1, 0.8):
        return f'did you mean root.from = "{DISKIMAGE_BUILDER}"?'
    if colon and Path(folder).is_dir():
        return f'root.from = "{Path(folder).name}" and root.tag = "{tag}" take that image'
    if re.search(r"(^|/)(docker|oci|oci-archive|docker-archive|containers-storage):", str(source)):
        return 'skopeo copy docker://debian:12 oci:FOLDER fetches an image, root.from = "FOLDER" takes it'
    return ""


def named_sources(image: Image) -> Iterator[tuple[tuple[str | int, ...], Path]]:
    """Yield the keys of each path that is read for an image's bytes, and the path."""
    if image.kernel:
        yield ("kernel",), image.kernel
    if image.ramdisk:
        yield ("ramdisk",), image.ramdisk
    if image.root.tree:
        yield ("root", "from"), image.root.tree
    if image.root.source == DISKIMAGE_BUILDER:
        for number, folder in enumerate(image.root.diskimage_builder.elements_path):
            yield ("root", "diskimage-builder", "elements_path", number), folder
    for number, item in enumerate(image.root.files):
        yield ("root", "files", number, "from"), item.source
    for number, ssh in enumerate(image.root.ssh):
        for index, key in enumerate(ssh.keys):
            if isinstance(key, Path):
                yield ("root", "ssh", number, "keys", index), key


def _check_keys(image: Image, number: int, path: Path | None) -> None:
    """RecipeError, which shows no text of a key's, for what is no public key."""
    for which, ssh in enumerate(image.root.ssh):
        for index, key in enumerate(ssh.keys):
            try:
                public_key(key)
            except ValueError as error:
                from imagekit.recipe.explain import place  # noqa: PLC0415 -- as above

                keys = ("root", "ssh", which, "keys", index)
                shown = f"{key} {error}" if isinstance(key, Path) else str(error)
                raise RecipeError(
                    f"{place(path, ('image', number, *keys), keys)}: {shown}", hint=KEY_HINT
                ) from None
