"""From a Xen kernel to an image that boots.

    from pathlib import Path
    import imagekit

    artifacts = imagekit.make([Path("app.xen")], targets=["ebs"], out="app.ebs")
    print(artifacts[0].path, artifacts[0].digest)

`make` is what `imagekit build` does; the modules below it are public too, and say more.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imagekit.version import __version__

if TYPE_CHECKING:
    from imagekit.artifact import Artifact
    from imagekit.events import Listener

__all__ = ["__version__", "make"]


def make(
    paths: Sequence[Path],
    *,
    targets: Sequence[str] = (),
    out: str | None = None,
    settings: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    cache: Path | None = None,
    listener: "Listener | None" = None,
    jobs: int = 2,
) -> "list[Artifact]":
    """Make the artifacts of kernels and recipes, and return them in the order of the plan.

    `targets` are names, or "all"; none means the recipe's, or xen. `out` is a file, or a folder when it ends with
    /. `settings` are keys of the recipe ({"disk.layout": "mbr"}). `environment` is what a recipe's variables and
    SOURCE_DATE_EPOCH are read from (none: nothing is). `cache` is the store's folder, the user's own by default.
    Every failure is an `imagekit.errors.ImagekitError`.
    """
    # `import imagekit` alone stays light.
    from imagekit import build, events, prepare, store  # noqa: PLC0415

    place = store.Store(cache or store.default_root())
    request = prepare.Request(paths, targets, out, settings)
    with place.in_use():
        runner = build.Runner(place, listener or events.silent)
        prepared = prepare.prepare(request, runner, environment or {})
        return build.build(prepared.plan, place, listener or events.silent, jobs=jobs, runner=runner)
