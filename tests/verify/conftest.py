"""Artifacts to verify."""

from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.artifact import Artifact
from tests.verify.lie import Built, Lie


@pytest.fixture
def artifact(make: Callable[..., list[Artifact]], kernels: Path) -> Built:
    """Return a function that builds one artifact: artifact(target=…, kernel=…, settings…)."""

    def built(*, target: str = "xen", kernel: str = "hello.xen", **settings: object) -> Lie:
        told = {name.replace("__", "."): value for name, value in settings.items()}
        (made,) = make(kernels / kernel, target=target, settings={"cmdline": "a=1 b=two", **told})
        return Lie(made.path)

    return built
