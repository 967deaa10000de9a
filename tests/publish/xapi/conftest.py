"""A pool with xapi that the environment lets in, and artifacts for it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, cli, hello, script
from tests.fakes.conftest import Pools, pools
from tests.fakes.xapi.pool import Pool
from tests.fakes.xapi.settings import XCP_NG_8_2

__all__ = ["cli", "hello", "pools", "script"]

Opened = Callable[..., tuple[Pool, tuple[str, ...]]]
Build = Callable[..., Path]


@pytest.fixture
def opened(pools: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Return a function that opens a pool: (pool, the options that lead to it)."""
    monkeypatch.setenv("IMAGEKIT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XAPI_USER", "XAPI_PASSWORD"):
        monkeypatch.delenv(name, raising=False)

    def made(**settings: object) -> tuple[Pool, tuple[str, ...]]:
        pool = pools(**{"product": XCP_NG_8_2, **settings})
        monkeypatch.setenv("XAPI_PASSWORD", pool.settings.password)
        return pool, ("--host", pool.url.removeprefix("https://"), "--fingerprint", pool.fingerprint)

    return made


@pytest.fixture
def build(cli: Cli, hello: Path) -> Build:
    """Return a function that builds app.vhd: build("xcp.format=raw", name="app.raw")."""

    def built(*settings: str, name: str = "app.vhd", kernel: Path = hello) -> Path:
        sets = [part for one in settings for part in ("--set", one)]
        said = cli("build", kernel, "-t", "xcp", "-o", name, "-q", *sets)
        assert said.code == 0, said.err
        return Path(name)

    return built
