"""The root step: kernel, boot files and the user's own, merged into one tar."""

import io
import os
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import cast

from imagekit.boot import shadowing
from imagekit.errors import RecipeError, TryAgainError
from imagekit.plan import Input, Json
from imagekit.root.first_boot import introduce, make_anonymous
from imagekit.root.merge import Content, Tree, add_file, add_tree
from imagekit.root.sources import clean, kept_members
from imagekit.root.tree import Member, first_entry, to_tarinfo


def write_root(inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    """Write the root tar. A step function.

    Inputs: `kernel`, `ramdisk` and whatever `trees` names. Options: `kernel`, `ramdisk` (paths in the image),
    `files` (path -> text), `trees` (list of {input, to}, see `add_tree`; later ones replace files of earlier ones,
    and what is imagekit's those of a `base`), `first_boot` (see `introduce`), `epoch` (seconds: no time is later).
    """
    epoch = cast("int", options["epoch"])
    tree = Tree()
    with ExitStack() as stack:
        for number, item in enumerate(cast("list[dict[str, str]]", options["trees"])):
            tree.owner = _owner(item)
            add_tree(tree, inputs[item["input"]], item, stack, out.with_name(f"unpacked-{number}"), epoch)
            if item.get("base"):
                tree.base = set(tree.members)
                make_anonymous(tree, epoch)
        tree.owner = None
        for name in ("kernel", "ramdisk"):
            if options.get(name):
                add_file(tree, inputs[name].path, cast("str", options[name]), epoch, ours=True)
        if "first_boot" in options:
            introduce(tree, inputs, cast("dict[str, Json]", options["first_boot"]), epoch)
        files = cast("dict[str, str]", options.get("files", {}))
        for path, text in files.items():
            data = text.encode()
            member = Member(clean(path, "boot"), "file", 0o644, epoch, size=len(data))
            tree.add(member, partial(io.BytesIO, data), ours=True)
        if files:
            _check_shadows(tree, files)
        tree.finish(epoch)
        referred = {one.reference.input for one in tree.members.values() if one.reference is not None}
        folders = {name for name, source in inputs.items() if source.path.is_dir()}
        _write(tree, out, {name: inputs[name].digest for name in referred | folders})


def write_folder(folder: Path, out: Path, epoch: int, more: Iterable[Member] = ()) -> None:
    """Write a system's folder as a root tar that holds all of it, and `more` where nothing has taken its place."""
    tree = Tree()
    for member, below in kept_members(folder, "/", epoch):
        content = partial((folder / below).open, "rb") if member.kind == "file" else None
        tree.add(member, cast("Content | None", content))
    for member in more:
        if member.path not in tree.members:
            tree.add(member)
    tree.finish(epoch)
    _write(tree, out, {})


def _owner(item: Mapping[str, str]) -> tuple[int, int] | None:
    uid, colon, gid = item.get("owner", "").partition(":")
    return (int(uid), int(gid)) if colon else None


def _check_shadows(tree: Tree, ours: Mapping[str, str]) -> None:
    for path in shadowing(ours):
        if path[1:] in tree.base:
            tree.remove(path[1:])
        elif path[1:] in tree.members:
            raise RecipeError(
                f"pygrub would read the recipe's own {path} in place of imagekit's boot menu",
                hint="leave it out of root.files",
            )


def _write(tree: Tree, out: Path, digests: Mapping[str, str]) -> None:
    # A hard link follows the file that it names, so links come last.
    order = sorted(tree.members.values(), key=lambda member: (member.kind == "hard", os.fsencode(member.path)))
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(first_entry(order, digests))
        for member in order:
            if member.reference is None:
                _write_member(tar, member, tree.contents.get(member.path))
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps all that it has written


def _write_member(tar: tarfile.TarFile, member: Member, content: Content | None) -> None:
    if content is None:
        tar.addfile(to_tarinfo(member))
        return
    with content() as file:
        try:
            tar.addfile(to_tarinfo(member), file)
        except tarfile.TarError as error:
            raise RecipeError(f"/{member.path} is not whole in its tar", details=str(error)) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise TryAgainError(f"/{member.path} became shorter while it was read", details=str(error)) from error
