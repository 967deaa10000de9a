"""The operating systems that a request has made here: their steps, and whether they can run, before any begins."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from imagekit.build import Planned, Runner
from imagekit.plan import Step
from imagekit.recipe import DISKIMAGE_BUILDER, Image


@dataclass(frozen=True, slots=True)
class Tree:
    """The step that makes an image's tree, whether its result is there, what is missing to run it, and remarks."""

    step: Step
    planned: Planned
    lacks: tuple[str, ...]
    remarks: tuple[str, ...]


def find(images: Iterable[Image], runner: Runner, epoch: int) -> dict[str, Tree]:
    """Return the tree of each image whose recipe asks for one to be made, by the image's name."""
    return {
        image.name or "": _tree(image, runner, epoch) for image in images if image.root.source == DISKIMAGE_BUILDER
    }


def check(trees: Mapping[str, Tree]) -> None:
    """ToolError, with all that is missing, when a tree has to be made and cannot."""
    lacks = dict.fromkeys(one for tree in trees.values() for one in tree.lacks)
    if lacks:
        from imagekit.systems import refused  # noqa: PLC0415 -- as below

        raise refused(lacks)


def remarks(trees: Mapping[str, Tree], *, making: bool) -> tuple[str, ...]:
    """Return what the user should know, in lines."""
    told = [f"{name}: {one}" for name, tree in trees.items() for one in tree.remarks]
    if not making:
        told += [f"{name}: diskimage-builder: {one}" for name, tree in trees.items() for one in tree.lacks]
    return tuple(told)


def _tree(image: Image, runner: Runner, epoch: int) -> Tree:
    from imagekit.systems import lacking, tree_step  # noqa: PLC0415 -- 15 ms that most builds need not wait for

    step, silent = tree_step(image, epoch, runner.store.root / "mirrors")
    found = runner.look_up(step, image.name or "", image.targets)
    lacks = (
        ()
        if found.cached or runner.elsewhere is not None
        else (*_place(runner), *lacking(cast("list[str]", step.options["all"])))
    )
    told = [f"{mirror} does not answer; its packages are taken to be those of last time" for mirror in silent]
    return Tree(step, found, lacks, tuple(told))


def _place(runner: Runner) -> list[str]:
    """Return what is wrong with the folder that diskimage-builder is to work in: it quotes no path."""
    if re.fullmatch(r"[\w./@%+=,-]+", str(runner.store.root), re.ASCII):
        return []
    return [f"it takes no folder of such a name: {runner.store.root}; IMAGEKIT_CACHE_DIR names another"]
