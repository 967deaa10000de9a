"""The files that a recipe names: they are there, or it is told where they are named."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from imagekit.errors import RecipeError
from imagekit.recipe.models import Image
from imagekit.recipe.systems import DISKIMAGE_BUILDER
from imagekit.recipe.values import PUBLIC_KEY


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
                ) from error


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
            if not PUBLIC_KEY.match(key):
                yield ("root", "ssh", number, "keys", index), Path(key)
