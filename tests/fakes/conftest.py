"""Servers that stand in for systems no test can have."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.xapi.pool import Pool
from tests.fakes.xapi.settings import Settings

Pools = Callable[..., Pool]


@pytest.fixture
def pools(tmp_path: Path) -> Iterator[Pools]:
    """Return a function that opens a pool with xapi: pools(product=XCP_NG_8_2, faults=("VDI.create 1 SR_FULL",))."""
    with ExitStack() as stack:
        number = iter(range(100))

        def make(**settings: object) -> Pool:
            made = Settings(**settings)  # type: ignore[arg-type]
            return stack.enter_context(Pool(tmp_path / f"pool-{next(number)}", made))

        yield make
