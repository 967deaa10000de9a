"""The steps that bring the tree of `root.from`: read once, and then known by an index of where its bytes lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagekit.plan import Json, Source, Step
from imagekit.root import oci
from imagekit.root.sources import is_tar, packed, write_plain
from imagekit.root.write import write_root

_TREE = "files-from"
_BYTES = "files-from-tar"  # what the disk step reads, too, begins with files-


@dataclass(frozen=True, slots=True)
class System:
    """A tree: the inputs by which a step reads it, and the item that says so, see `merge.add_tree`."""

    inputs: Mapping[str, Source | Step]
    item: Mapping[str, Json]


def system(path: Path, epoch: int) -> System:
    """Return the tree of a folder, a tar or an OCI image layout.

    A tar's headers are read once, by the step `tree`, whose result is a root tar that refers to the tar's bytes; a
    packed one is unpacked beforehand, by the step `plain`.
    """
    called = path.name
    if oci.is_layout(path):
        inputs: dict[str, Source | Step] = {_TREE: _index(Source(path), {"called": called}, epoch)}
    elif is_tar(path) and not path.is_dir():
        tar = Step("plain", write_plain, {"packed": Source(path)}) if packed(path) else Source(path)
        inputs = {_TREE: _index(tar, {"called": called, "form": "tar"}, epoch), _BYTES: tar}
    else:
        return System({_TREE: Source(path)}, {"input": _TREE, "to": "/", "called": called})
    return System(inputs, {"input": _TREE, "to": "/", "called": called, "form": "root", "refers": _BYTES})


def _index(tree: Source | Step, more: Mapping[str, Json], epoch: int) -> Step:
    """Return the step that writes down what a tree has."""
    item = {"input": "tree", "to": "/", **more}
    options: dict[str, Json] = {"trees": [item], "epoch": epoch}
    return Step("tree", write_root, {"tree": tree}, options)
