"""What every test may ask for: the sample kernels, a store of its own, and a build of a request."""

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from imagekit.artifact import Artifact
from imagekit.build import Runner, build
from imagekit.command import run
from imagekit.events import Listener, silent
from imagekit.prepare import Request, prepare
from imagekit.store import Store

ROOT = Path(__file__).parents[1]

# Times are no claims here: bench/ makes those. A test that needs more examples says so.
hypothesis_settings.register_profile(
    "imagekit",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
hypothesis_settings.load_profile("imagekit")

_LONGEST_ID = 80

Make = Callable[..., list[Artifact]]


# What a test may be left out for in CI: what the machine there cannot do, never what setup should have brought.
_EXCUSES = ("Btrfs", "only root", "no small disk can be mounted")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:  # noqa: ARG001 -- pytest's form
    """In CI a skipped test has failed, unless its reason is an excuse."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr)
        if not any(excuse in reason for excuse in _EXCUSES):
            report.outcome = "failed"
            report.longrepr = f"skipped, which CI does not take: {reason}"


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Keep data out of the names of tests; it may be different in each worker."""
    return argname if isinstance(val, bytes | str) and len(val) > _LONGEST_ID else None


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the sample kernels, built once a run by gcc, as and ld."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "kernels"
    with FileLock(shared / "kernels.lock"):
        if not (folder / "done").exists():
            run("make", "-s", "-C", ROOT / "recipes" / "kernels", f"OUT={folder}")
            (folder / "done").touch()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store(tmp_path / "cache")


@pytest.fixture
def make(store: Store, tmp_path: Path) -> Make:
    """Return a function that builds: make(path…, target=…, out=…, settings={…}) -> artifacts; else into out/."""

    def make_it(
        *paths: Path,
        target: str | tuple[str, ...] = (),
        out: str | Path | None = None,
        settings: dict[str, object] | None = None,
        environment: dict[str, str] | None = None,
        listener: Listener = silent,
    ) -> list[Artifact]:
        targets = (target,) if isinstance(target, str) else target
        where = str(out) if out is not None else f"{tmp_path / 'out'}/"
        request = Request(paths, targets, where, settings)
        with store.in_use():
            prepared = prepare(request, Runner(store), environment or {})
        return build(prepared.plan, store, listener)

    return make_it


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's cache, records and settings."""
    monkeypatch.setenv("IMAGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("IMAGEKIT_STATE_DIR", str(tmp_path.with_name(f"{tmp_path.name}-state")))
    for name in ("SOURCE_DATE_EPOCH", "NO_COLOR", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.delenv(name, raising=False)
