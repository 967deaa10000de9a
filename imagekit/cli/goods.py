"""What there is to publish: artifacts as they lie, and those that recipes and kernels are built into first."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from imagekit.cli import asked
from imagekit.cli.console import cache_dir, tell
from imagekit.cli.shared import of_environment, open_store
from imagekit.errors import ImagekitError, UsageError

if TYPE_CHECKING:
    from imagekit.artifact import Artifact
    from imagekit.prepare import Prepared
    from imagekit.recipe import Image


@contextmanager
def artifacts(
    path: Path, targets: list[str] | None, sets: list[str] | None, chosen: Mapping[str, object]
) -> "Iterator[list[tuple[Path, Image | None]]]":
    """Lend the artifact of a path; of a recipe or a kernel, what it is built into for the time being."""
    from imagekit.artifact import sidecar_path  # noqa: PLC0415

    if sidecar_path(path).exists() or not is_input(path):
        if sets:
            raise UsageError("--set is for recipes and kernels, and an artifact is built already")
        _check_target(path, targets)
        yield [(path, None)]
        return
    from imagekit.store import Store  # noqa: PLC0415

    with Store(cache_dir()).workplaces.new() as folder:
        artifacts, prepared = _build(path, targets, sets, folder)
        yield [
            (artifact.path, prepared.images[artifact.image])
            for artifact in artifacts
            if targets or is_published(artifact.target, prepared.images[artifact.image], chosen)
        ]


def _check_target(path: Path, targets: list[str] | None) -> None:
    """UsageError for an artifact that was built for another target than it is to be published for."""
    from imagekit.artifact import Sidecar  # noqa: PLC0415

    sidecar = Sidecar.read(path) if targets and path.is_file() else None
    if targets and sidecar and not {sidecar.target, "all"} & set(targets):
        raise UsageError(
            f"{path} was built for the target {sidecar.target}",
            hint=f"imagekit build --target {targets[0]} makes another one of the same kernel",
        )


def _build(
    path: Path, targets: list[str] | None, sets: list[str] | None, folder: Path
) -> "tuple[list[Artifact], Prepared]":
    from imagekit.build import Runner  # noqa: PLC0415
    from imagekit.build import build as run  # noqa: PLC0415
    from imagekit.events import silent  # noqa: PLC0415
    from imagekit.prepare import prepare  # noqa: PLC0415

    store = open_store(of_environment())
    kernel = path.suffix != ".toml"
    wanted = asked.request([path], targets or (["ebs"] if kernel else None), f"{folder}/", sets)
    with store.in_use():
        runner = Runner(store, silent)
        prepared = prepare(wanted, runner, os.environ)
        artifacts = run(prepared.plan, store, silent, jobs=os.cpu_count() or 1, runner=runner)
    for skipped in prepared.skipped:
        tell(f"{skipped.image}: not for {skipped.target}: {skipped.refusal.reason}")
    return artifacts, prepared


def is_published(target: str, image: "Image", chosen: Mapping[str, object] = MappingProxyType({})) -> bool:
    """Tell whether a target's artifacts are uploaded: it has an uploader, and a host if it takes one."""
    from imagekit.targets import load  # noqa: PLC0415

    table = getattr(image.publish, target, None)
    placed = getattr(table, "host", True) is not None or "host" in chosen
    return placed and bool(getattr(load(target), "PUBLISHER", ""))


def is_input(path: Path) -> bool:
    """Tell whether a file is a recipe or a kernel, to be built first."""
    from imagekit.kernel import Kind, read_kernel  # noqa: PLC0415

    if path.suffix == ".toml":
        return True
    try:
        return read_kernel(path).kind is not Kind.NONE
    except (ImagekitError, OSError):
        return False
