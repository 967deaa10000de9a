"""Several trees as one: later members in place of earlier ones, layers with what they take away."""

import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, cast

from imagekit.errors import RecipeError
from imagekit.plan import Input
from imagekit.root import oci
from imagekit.root.kinds import check_unpacked
from imagekit.root.sources import clean, folder_members, is_tar, kept_members, opened_tar, tar_members
from imagekit.root.tree import Member, Reference, read_referring

Content = Callable[[], IO[bytes]]


@dataclass
class Tree:
    """The members by path, how to read those whose bytes go into the tar, and what hard links named."""

    members: dict[str, Member] = field(default_factory=dict)
    contents: dict[str, Content] = field(default_factory=dict)
    named: dict[str, tuple[Member, Content | None]] = field(default_factory=dict)
    base: set[str] = field(default_factory=set)
    """Paths of an operating system's own, which imagekit's files may take the place of."""
    owner: tuple[int, int] | None = None
    """(uid, gid) of all that is added, where it is not its own."""

    def add(self, member: Member, content: Content | None = None, *, ours: bool = False) -> None:
        """Add a member, in place of one that is there; RecipeError where one of `ours` is there already."""
        if self.owner is not None:
            member = replace(member, uid=self.owner[0], gid=self.owner[1])
        before = self.members.get(member.path)
        if before is not None and (before.kind == "dir") != (member.kind == "dir"):
            raise RecipeError(
                f"/{member.path} would be a folder and something else at once",
                details=f"first {before.kind}, then {member.kind}",
            )
        if ours and before is not None and member.path not in self.base:
            raise RecipeError(
                f"the recipe's own /{member.path} is where imagekit writes a file",
                hint="leave it out of root.files, or give root.kernel another path",
            )
        if member.kind == "hard":
            self.named[member.path] = self._original(member)
        self.members[member.path] = member
        self.base.discard(member.path)
        self.contents.pop(member.path, None)
        if content is not None:
            self.contents[member.path] = content

    def file(self, path: str) -> tuple[Member, Content | None]:
        """Return a file, or the one that a hard link names, and how to read it; None for one by reference."""
        member = self.members[path]
        return self.named[path] if member.kind == "hard" else (member, self.contents.get(path))

    def remove(self, path: str) -> None:
        """Remove a member and all below it."""
        for one in [name for name in self.members if name == path or name.startswith(f"{path}/")]:
            del self.members[one]
            self.contents.pop(one, None)
            self.base.discard(one)

    def finish(self, epoch: int) -> None:
        """Add the folders that were only implied; refuse what lies below anything but a folder."""
        for path in list(self.members):
            below, parent = path, path.rpartition("/")[0]
            while parent and parent not in self.members:
                self.members[parent] = Member(parent, "dir", 0o755, epoch)
                below, parent = parent, parent.rpartition("/")[0]
            above = self.members.get(parent)
            if above is not None and above.kind != "dir":
                raise RecipeError(
                    f"/{below} lies below /{parent}, which is no folder",
                    details=f"/{parent} is a {above.kind}{' to ' + above.target if above.target else ''}",
                )
        self._settle_links()

    def _original(self, link: Member) -> tuple[Member, Content | None]:
        target = self.members.get(link.target)
        if target is None or target.kind == "dir" or link.target == link.path:
            raise RecipeError(
                f"/{link.path} is a hard link to /{link.target}, which is no file of this tree",
                hint="was the tar made from a part of a tree?",
            )
        return self.named[link.target] if target.kind == "hard" else (target, self.contents.get(link.target))

    def _settle_links(self) -> None:
        """Give each hard link the file that it named, which a later tree has perhaps replaced under its name."""
        heirs: dict[int, str] = {}
        for path, (original, content) in self.named.items():
            link = self.members.get(path)
            if link is None or link.kind != "hard":
                continue
            first = original.path if self.members.get(original.path) is original else heirs.get(id(original))
            if first is not None:
                self.members[path] = replace(link, target=first)
                continue
            heirs[id(original)] = path
            self.members[path] = replace(original, path=path)
            if content is not None:
                self.contents[path] = content
        self._order_links()

    def _order_links(self) -> None:
        """Give a file to the first of its names: which one a tar has as the file is the order of a folder."""
        names: dict[str, list[str]] = {}
        for path, link in self.members.items():
            if link.kind == "hard":
                names.setdefault(link.target, [link.target]).append(path)
        for file, linked in names.items():
            first = min(linked, key=os.fsencode)
            if first != file:
                self.members[first], link = replace(self.members[file], path=first), self.members[first]
                if file in self.contents:
                    self.contents[first] = self.contents.pop(file)
                for path in linked:
                    if path != first:
                        self.members[path] = replace(link, path=path, target=first)


def opened(member: Member, content: Content | None, inputs: Mapping[str, Input]) -> IO[bytes]:
    """Open a file of a tree, where it begins."""
    if content is not None:
        return content()
    found = member.reference
    assert found is not None  # noqa: S101 -- else it has a content
    file = inputs[found.input].path.joinpath(found.path).open("rb")
    file.seek(found.offset or 0)
    return file


def add_tree(
    tree: Tree, source: Input, item: Mapping[str, str], stack: ExitStack, scratch: Path, epoch: int
) -> None:
    """Add what a recipe names: a folder, a tar, an OCI image layout or a file.

    Its `form`, where there is one, says what it is: "root", a root tar (and what it refers to the input `refers`),
    "tar", whatever its name is (by reference to the input `refers`, if there is one), or "kept", a folder with its
    modes and owners. `called` is its name in errors, `tag` the image of a layout.
    Tars stay open until the stack ends; a packed one is unpacked into `scratch`.
    """
    path, to, form = source.path, item["to"], item.get("form", "")
    tar_or_folder = path.is_dir() or form in {"root", "tar"} or is_tar(path)
    if "mode" in item and tar_or_folder:
        raise RecipeError(f"{path} is no single file, and has modes of its own", hint="leave root.files.mode out")
    if form == "root":
        for member in read_referring(path, item["input"]):
            tree.add(_renamed(member, item))
    elif form == "tar" or (is_tar(path) and not path.is_dir()):
        _add_tar(tree, stack.enter_context(opened_tar(path, scratch)), path, item, epoch)
    elif oci.is_layout(path):
        for number, layer in enumerate(oci.layers(path, item.get("tag"))):
            tar = stack.enter_context(opened_tar(layer, scratch.with_name(f"{scratch.name}-{number}")))
            _add_layer(tree, tar, layer, to, epoch)
    elif path.is_dir():
        for member in _of_folder(path, item, epoch):
            tree.add(member)
    else:
        name = item.get("called", path.name)
        add_file(tree, path, to + name if to.endswith("/") else to, epoch, mode=item.get("mode"))


def _of_folder(path: Path, item: Mapping[str, str], epoch: int) -> Iterator[Member]:
    if item.get("form") != "kept":
        yield from folder_members(path, item["input"], item["to"], epoch)
        return
    for member, _ in kept_members(path, item["to"], epoch, item["input"]):
        yield member


def _renamed(member: Member, item: Mapping[str, str]) -> Member:
    """Return a root tar's member, what it refers to under the name that this step knows it by."""
    found = member.reference
    if found is None or found.input == item["input"]:
        return member
    return replace(member, reference=replace(found, input=item["refers"]))


def _add_tar(tree: Tree, tar: tarfile.TarFile, path: Path, item: Mapping[str, str], epoch: int) -> None:
    called = item.get("called", str(path))
    for member, info in tar_members(tar, called, item["to"], epoch):
        _add_of_tar(tree, member, tar, info, item.get("refers"))
    if item.get("form") == "tar":
        check_unpacked(tree.members, called)


def _add_of_tar(
    tree: Tree, member: Member, tar: tarfile.TarFile, info: tarfile.TarInfo, refers: str | None
) -> None:
    """Add a tar's member: by reference to the input `refers`, or with its bytes where they lie in pieces."""
    if refers is not None and info.isreg() and not info.issparse():
        tree.add(replace(member, reference=Reference(refers, "", info.offset_data)))
    else:
        tree.add(member, _content(tar, info))


def add_file(
    tree: Tree, source: Path, to: str, epoch: int, *, ours: bool = False, mode: str | None = None
) -> None:
    """Add one file; its mode is 0755 or 0644, unless an octal one is given."""
    status = source.stat()
    bits = int(mode, 8) if mode else 0o755 if status.st_mode & 0o100 and not ours else 0o644
    path = clean(to, str(source))
    if not path:
        raise RecipeError(f"{source}: {to!r} names no file in the image", hint='to = "/etc/app.conf", or "/etc/"')
    tree.add(Member(path, "file", bits, epoch, size=status.st_size), lambda: source.open("rb"), ours=ours)


def _add_layer(tree: Tree, tar: tarfile.TarFile, source: Path, to: str, epoch: int) -> None:
    """Add a layer: first it takes away what lower ones have, then it brings its own."""
    found = list(tar_members(tar, str(source), to, epoch))
    for member, _ in found:
        folder, _, name = member.path.rpartition("/")
        if name == oci.OPAQUE:
            for one in [one for one in tree.members if one.startswith(f"{folder}/" if folder else "")]:
                tree.remove(one)
        elif name.startswith(oci.WHITEOUT):
            gone = name.removeprefix(oci.WHITEOUT)
            if gone in {"", ".", ".."}:
                raise RecipeError(f"{source}: {member.path!r} takes away what is no name", hint="a damaged layer?")
            tree.remove("/".join(filter(None, (folder, gone))))
    for member, info in found:
        if member.path.rpartition("/")[2].startswith(oci.WHITEOUT):
            continue
        _make_way(tree, member)
        tree.add(member, _content(tar, info))


def _make_way(tree: Tree, member: Member) -> None:
    """Remove what a lower layer has where this one has a folder, or a folder where this one has something else."""
    before = tree.members.get(member.path)
    if before is not None and (before.kind == "dir") != (member.kind == "dir"):
        tree.remove(member.path)
    parent = member.path.rpartition("/")[0]
    while parent:
        above = tree.members.get(parent)
        if above is not None and above.kind == "file":
            tree.remove(parent)
        parent = parent.rpartition("/")[0]


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Content | None:
    return partial(_extracted, tar, info) if info.isreg() else None


def _extracted(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    return cast("IO[bytes]", tar.extractfile(info))
