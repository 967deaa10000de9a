"""The kernel and the initrd that an operating system's tree brings: named, or the newest in /boot."""

import io
import json
import re
import shutil
import tarfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

from imagekit.errors import BuildError, RecipeError
from imagekit.plan import Input, Json
from imagekit.root.merge import Tree, add_tree, opened

_KERNEL = re.compile(r"boot/(?:vmlinuz|vmlinux|kernel)(?:-(?P<version>[^/]+))?|boot/(?P<unikernel>[^/]+)\.xen")
_INITRDS = ("initrd.img-{}", "initramfs-{}.img", "initrd-{}", "initramfs-{}", "initrd-{}.img")
_PLAIN_INITRDS = ("initrd.img", "initrd", "initramfs.img", "initramfs")
_MOST_LINKS = 40  # as Linux follows them


@dataclass(frozen=True)
class Boot:
    """What a tree boots: paths in the image; `ramdisk` is None where there is no initrd for the kernel."""

    kernel: str
    ramdisk: str | None


def write_boot(inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    """Find what a tree boots, and write a tar of `boot.json` and that `kernel`. A step function.

    Inputs: the tree, and what it refers to. Options: `kernel`, a path in the tree or None for the newest; `tree`,
    as in the root step's `trees`; `epoch`. RecipeError for none.
    """
    epoch, item = cast("int", options["epoch"]), cast("Mapping[str, str]", options["tree"])
    tree, source = Tree(), inputs[item["input"]]
    with ExitStack() as stack:
        add_tree(tree, source, item, stack, out.with_name("unpacked"), epoch)
        found = _found(tree, cast("str | None", options["kernel"]), item.get("called", str(source.path)))
        kernel, content = tree.file(found.kernel.lstrip("/"))
        with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
            told = json.dumps({"kernel": found.kernel, "ramdisk": found.ramdisk}).encode()
            info = tarfile.TarInfo("boot.json")
            info.size = len(told)
            tar.addfile(info, io.BytesIO(told))
            info = tarfile.TarInfo("kernel")
            info.size = kernel.size
            with opened(kernel, content, inputs) as file:
                tar.addfile(info, file)


def read_boot(path: Path) -> Boot:
    """Return what `write_boot` found."""
    with tarfile.open(path, "r:") as tar:
        file = tar.extractfile("boot.json")
        if file is None:
            raise BuildError(f"{path} tells of no kernel")
        return Boot(**json.loads(file.read()))


def write_kernel(inputs: Mapping[str, Input], out: Path, _options: Mapping[str, Json]) -> None:
    """Write the kernel that `write_boot` took. A step function; its input is `boot`."""
    with tarfile.open(inputs["boot"].path, "r:") as tar, out.open("wb") as file:
        kernel = tar.extractfile("kernel")
        if kernel is None:
            raise BuildError(f"{inputs['boot'].path} has no kernel")
        shutil.copyfileobj(kernel, file, 1 << 20)


def _found(tree: Tree, named: str | None, source: str) -> Boot:
    if named is not None:
        path = _resolved(tree, named.strip("/"))
        if path is None:
            raise RecipeError(f"{source} has no file {named}", hint="root.kernel names the kernel in the tree")
        match = _KERNEL.fullmatch(path)
        return Boot(f"/{path}", _initrd(tree, path, match["version"] if match else None))
    matches = [
        match
        for path, member in tree.members.items()
        if member.kind in {"file", "hard"} and (match := _KERNEL.fullmatch(path))
    ]
    if not matches:
        raise RecipeError(
            f"{source} has no kernel in /boot",
            details="looked for: vmlinuz, vmlinuz-VERSION, NAME.xen",
            hint='root.kernel = "/…" names another, kernel = "app.xen" brings one',
        )
    newest = max(matches, key=lambda match: (match["unikernel"] is None, _order(match["version"] or ""), match[0]))
    return Boot(f"/{newest[0]}", _initrd(tree, newest[0], newest["version"]))


def _initrd(tree: Tree, kernel: str, version: str | None) -> str | None:
    folder = PurePosixPath(kernel).parent
    names = [name.format(version) for name in _INITRDS] if version else list(_PLAIN_INITRDS)
    for name in names:
        path = _resolved(tree, str(folder / name))
        if path is not None:
            return f"/{path}"
    return None


def _resolved(tree: Tree, path: str) -> str | None:
    """Return the file that a path leads to, through its last part's links; None when it leads to none."""
    for _ in range(_MOST_LINKS):
        member = tree.members.get(path)
        if member is None or member.kind != "link":
            return path if member is not None and member.kind in {"file", "hard"} else None
        target = PurePosixPath(member.target)
        parts: list[str] = []
        for part in (target if target.is_absolute() else PurePosixPath("/", path).parent / target).parts[1:]:
            if part == "..":
                parts[-1:] = []
            else:
                parts.append(part)
        path = "/".join(parts)
    return None


def _order(version: str) -> list[tuple[int, str]]:
    """Return a key by which 6.10 comes after 6.9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", version)]
