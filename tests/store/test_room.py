"""A full disk is told as a passing state, whoever met it."""

from pathlib import Path

import pytest

from imagekit.errors import ToolError, TryAgainError
from imagekit.store import Store, full_disk
from tests.store.making import KEY, nothing


def test_a_full_disk_is_told_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    error = full_disk(tmp_path / "not" / "yet")
    assert (error.exit_code, "MiB left" in error.details) == (75, True)


@pytest.mark.parametrize(
    "error, expected",
    [
        (OSError(28, "No space left on device"), TryAgainError),
        (OSError(122, "Disk quota exceeded"), TryAgainError),
        (ToolError("mke2fs failed", details="mke2fs: No space left on device while writing"), TryAgainError),
        (OSError(5, "Input/output error"), OSError),
        (ToolError("mke2fs failed", details="something else"), ToolError),
    ],
)
def test_a_full_disk_is_a_passing_state(store: Store, error: Exception, expected: type[Exception]) -> None:
    def produce(out: Path, _reason: str) -> None:
        out.write_text("half")
        raise error

    with store.in_use(), pytest.raises(expected) as caught:
        store.make(KEY, "step", produce, waiting=nothing, damaged=print)
    assert caught.type is expected
    assert not list((store.root / "tmp").iterdir())
