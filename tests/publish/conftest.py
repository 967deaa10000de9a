"""A rehearsed account, as a user's environment names it, and an image for it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.rehearsal.account import Rehearsal
from imagekit.rehearsal.settings import AccountSettings

Open = Callable[..., Rehearsal]
REGION = "eu-west-1"
# Tests run faster than any account's rates of writing allow.
FAST = AccountSettings(write_rate=1000.0, list_rate=1000.0, ec2_read_rate=1000.0, ec2_write_rate=1000.0)


@pytest.fixture
def rehearse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Return a function that opens an account and points the AWS variables at it: rehearse(faults=(…,))."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("IMAGEKIT_STATE_DIR", str(tmp_path / "state"))
    with ExitStack() as stack:
        number = iter(range(100))

        def make(**settings: object) -> Rehearsal:
            folder = tmp_path / f"account-{next(number)}"
            folder.mkdir()
            made = stack.enter_context(Rehearsal(folder, replace(FAST, **settings)))  # type: ignore[arg-type]
            for name, value in made.environment.items():
                monkeypatch.setenv(name, value)
            return made

        yield make


def held(account: Rehearsal, region: str = REGION) -> tuple[int, int]:
    """Return how many images and snapshots there are."""
    return len(account.images(region)), len(account.snapshots(region))
