"""Several real builds of one thing at once."""

import pytest

from imagekit.sparse import digest_file
from tests.faults.conftest import Bench, ended


def test_two_builds_to_two_places(bench: Bench) -> None:
    environment = bench.stopping("debugfs", "before")
    first = bench.build(out=bench.out / "first.raw", env=environment)
    bench.reached(environment)
    second = bench.build(out=bench.out / "second.raw")
    assert second.stderr is not None
    assert any('"step-waits"' in line for line in second.stderr)
    bench.go(environment)
    assert (ended(first)[0], ended(second)[0]) == (0, 0)
    files = bench.files()
    for suffix in ("", ".cfg", ".xml", ".xm.cfg", ".imagekit.json"):
        assert files[f"first.raw{suffix}"] == files[f"second.raw{suffix}"]


@pytest.mark.parametrize("same", [True, False], ids=["one place", "four places"])
def test_four_builds_in_a_race(bench: Bench, same: bool) -> None:
    names = ["app.raw"] * 4 if same else [f"app-{number}.raw" for number in range(4)]
    processes = [bench.build("--layout", "gpt", out=bench.out / name) for name in names]
    assert [ended(process)[0] for process in processes] == [0] * 4
    assert len({digest_file(bench.out / name) for name in names}) == 1
    assert bench.left() == []
    assert list(bench.out.glob(".*")) == []
    assert ended(bench.start("cache", "verify"))[0] == 0


def test_pruning_during_a_build_is_for_later(bench: Bench) -> None:
    environment = bench.stopping("mke2fs", "before")
    first = bench.build(env=environment)
    bench.reached(environment)
    code, _, words = ended(bench.start("cache", "prune", "--all"))
    assert (code, "is in use" in words) == (75, True)
    bench.go(environment)
    assert ended(first)[0] == 0
    assert ended(bench.start("cache", "prune", "--all"))[0] == 0
    assert not list((bench.store / "blobs").iterdir())
