"""The steps that bring the tree of `root.from`: read once, and then known by an index of where its bytes lie."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagekit.errors import RecipeError
from imagekit.plan import Json, Source, Step
from imagekit.recipe import Image
from imagekit.root.kinds import form
from imagekit.root.run import TOOLS, write_run
from imagekit.root.sources import packed, write_plain
from imagekit.root.write import write_root

_TREE = "files-from"
_BYTES = "files-from-tar"  # what the disk step reads, too, begins with files-


@dataclass(frozen=True, slots=True)
class System:
    """A tree: the inputs by which a step reads it, and the item that says so, see `merge.add_tree`.

    `slow` are the steps that people wait for, in their order: what makes the tree, and the commands in it.
    """

    inputs: Mapping[str, Source | Step]
    item: Mapping[str, Json]
    slow: tuple[Step, ...] = ()


def system(image: Image, epoch: int, made: Step | None = None) -> System | None:
    """Return the tree of `root.from`, after the commands of `root.run`; None where a recipe has none.

    `made` is the step that makes it as a tar, where one does.
    """
    if made is not None:
        tree = _of_step(made, epoch)
    elif image.root.tree is not None:
        tree = _tree(image.root.tree, image.root.tag, epoch)
    else:
        return None
    return _after_commands(tree, image, epoch) if image.root.run else tree


def brought(image: Image) -> tuple[dict[str, Source | Step], list[dict[str, Json]]]:
    """Return the inputs of `root.files`, and the items of the root step's `trees` that name them.

    Commands see these files, and what they make of them is in the tree then.
    """
    inputs: dict[str, Source | Step] = {}
    items: list[dict[str, Json]] = []
    for number, item in enumerate(image.root.files):
        name = f"files-{number}"
        inputs[name] = Source(item.source)
        more = {"owner": item.owner, "mode": item.mode, "called": item.source.name}
        items.append({"input": name, "to": item.to, **{key: value for key, value in more.items() if value}})
    return inputs, items


def introduction(image: Image) -> tuple[dict[str, Source | Step], dict[str, Json]]:
    """Return the inputs and the root step's `first_boot`: the system's name, and who may log in."""
    inputs: dict[str, Source | Step] = {}
    ssh: list[Json] = []
    for number, one in enumerate(image.root.ssh):
        keys: list[Json] = []
        for index, key in enumerate(one.keys):
            if isinstance(key, Path):
                inputs[f"key-{number}-{index}"] = Source(key)
                keys.append({"input": f"key-{number}-{index}"})
            else:
                keys.append({"text": key})
        ssh.append({"user": one.user, "keys": keys})
    return inputs, {"hostname": image.root.hostname, "ssh": ssh}


def _tree(path: Path, tag: str | None, epoch: int) -> System:
    """Return the tree of a folder, a tar or an OCI image layout, of which `tag` names an image.

    A tar's headers are read once, by the step `tree`, whose result is a root tar that refers to the tar's bytes; a
    packed one is unpacked beforehand, by the step `plain`.
    """
    called, kind = path.name, form(path)
    if tag is not None and kind != "layout":
        raise RecipeError(f"root.tag: {path} is a {kind}, and has no tags", hint="it is for OCI image layouts")
    if kind == "layout":
        more = {"called": called, **({"tag": tag} if tag else {})}
        return System({_TREE: _index(Source(path), more, epoch)}, _root_tar(called, _BYTES))
    if kind == "tar":
        plain = Step("plain", write_plain, {"packed": Source(path)}) if packed(path) else Source(path)
        return _of_tar(plain, called, epoch)
    item = {"input": _TREE, "to": "/", "called": called, "form": "kept"}
    return System({_TREE: Source(path, kept=True)}, item)


def _of_tar(tar: Source | Step, called: str, epoch: int) -> System:
    index = _index(tar, {"called": called, "form": "tar", "refers": "tree"}, epoch)
    return System({_TREE: index, _BYTES: tar}, _root_tar(called, _BYTES))


def _of_step(made: Step, epoch: int) -> System:
    """Return the tree that a step makes anew each time, with its bytes: their order in its tar is chance."""
    called = f"the tree by {made.name}"
    index = _index(made, {"called": called, "form": "tar"}, epoch)
    return System({_TREE: index}, _root_tar(called, _TREE), (made,))


def _root_tar(called: str, refers: str) -> dict[str, Json]:
    return {"input": _TREE, "to": "/", "called": called, "form": "root", "refers": refers}


def _index(tree: Source | Step, more: Mapping[str, Json], epoch: int) -> Step:
    """Return the step that writes down what a tree has."""
    item = {"input": "tree", "to": "/", **more}
    options: dict[str, Json] = {"trees": [item], "epoch": epoch}
    return Step("tree", write_root, {"tree": tree}, options)


def _after_commands(tree: System, image: Image, epoch: int) -> System:
    inputs, items = brought(image)
    inputs = {**tree.inputs, **inputs}
    whole = Step("whole", write_root, inputs, {"trees": [tree.item, *items], "epoch": epoch})
    commands = [
        {
            "argv": ["/bin/sh", "-e", "-c", one.run] if isinstance(one.run, str) else list(one.run),
            "shown": one.run if isinstance(one.run, str) else shlex.join(one.run),
            "network": one.network,
            "timeout": one.timeout,
            "environment": one.environment,
        }
        for one in image.root.run
    ]
    options: dict[str, Json] = {"commands": commands, "epoch": epoch}
    run = Step("run", write_run, {**inputs, "files-whole": whole}, options, tools=TOOLS, needs=("namespaces",))
    return System({_TREE: run}, _root_tar(str(tree.item["called"]), _TREE), (*tree.slow, run))
