"""Faults at every call of a publication, and kills in between: one image and its snapshot are left, or nothing."""

import os
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from imagekit.rehearsal.account import Rehearsal
from imagekit.sparse import BLOCK, map_blocks
from tests.faults.conftest import Bench, ended
from tests.publish.conftest import REGION, Open, held, rehearse

__all__ = ["rehearse"]
CALLS = (
    *("DescribeInstanceTypes", "DescribeImages", "DescribeSnapshots", "StartSnapshot", "PutSnapshotBlock"),
    *("CompleteSnapshot", "RegisterImage"),
)
PASSING = ("500", "throttle", "reset", "lost", "truncated", "close")


def publish(bench: Bench, *more: str) -> tuple[int, str, str]:
    """Publish the image that `image` has built."""
    return ended(bench.start("publish", bench.out / "app.ebs", "--region", REGION, *more), 120)


@pytest.fixture
def image(bench: Bench) -> Path:
    path = bench.out / "app.ebs"
    assert ended(bench.start("build", bench.kernel, "-t", "ebs", "-o", path, "-q"))[0] == 0
    return path


def is_whole(account: Rehearsal, image: Path) -> bool:
    """Whether the account holds one image, whose one snapshot is the file."""
    if held(account) != (1, 1):
        return False
    back = image.with_suffix(".back")
    account.snapshots(REGION)[0].read_back(back)
    return map_blocks(back) == map_blocks(image)


def passing() -> Iterator[object]:
    """Yield each fault at each call; every other one of them is left to the long run."""
    for (row, action), (column, kind) in product(enumerate(CALLS), enumerate(PASSING)):
        yield pytest.param(action, kind, marks=() if (row + column) % 2 == 0 else pytest.mark.long)


@pytest.mark.parametrize("action,kind", list(passing()))
def test_what_passes_is_outlived(bench: Bench, image: Path, rehearse: Open, action: str, kind: str) -> None:
    account = rehearse(faults=(f"{action} 1 {kind}", f"{action} 3 {kind}"))
    code, out, err = publish(bench)
    assert code == 0, err
    assert out == f"{account.images(REGION)[0].id}\n"
    assert is_whole(account, image)


@pytest.mark.parametrize("action", CALLS)
def test_what_is_refused_is_undone(bench: Bench, image: Path, rehearse: Open, action: str) -> None:
    account = rehearse(
        faults=(f"{action} 2-99 denied" if action.startswith("Describe") else f"{action} 1 denied",)
    )
    code, out, err = publish(bench)
    if code == 0:
        assert is_whole(account, image)
        return
    assert (code, out) == (5, ""), err
    assert "Traceback" not in err
    assert held(account) == (0, 0), err
    if action != "StartSnapshot" and "snap-" in err:
        assert "removed again: " in err


@pytest.mark.long
@pytest.mark.parametrize("kind", [*PASSING, "hang", "slow", "denied"])
@pytest.mark.parametrize("number", range(2, 6))
@pytest.mark.parametrize("action", CALLS)
def test_any_fault_at_any_call(
    bench: Bench, image: Path, rehearse: Open, action: str, number: int, kind: str
) -> None:
    account = rehearse(faults=(f"{action} {number} {kind}",))
    code, _, err = publish(bench)
    assert code in {0, 5}, err
    assert is_whole(account, image) if code == 0 else held(account) == (0, 0), err
    assert 0 in {publish(bench)[0], publish(bench)[0]}  # the fault may come now
    assert is_whole(account, image)


@pytest.mark.parametrize("what", ["RegisterImage 1 failed", "CompleteSnapshot 1 failed"])
def test_what_fails_later_is_undone(bench: Bench, image: Path, rehearse: Open, what: str) -> None:
    account = rehearse(faults=(what,))
    code, out, err = publish(bench)
    assert (code, out) == (5, ""), err
    assert held(account) == (0, 0), err
    code, out, err = publish(bench)
    assert code == 0, err
    assert is_whole(account, image)


SOME, ALL = range(1, 20, 3), [number for number in range(1, 28) if number % 3 != 1]


@pytest.mark.parametrize("number", [*SOME, *(pytest.param(number, marks=pytest.mark.long) for number in ALL)])
def test_kill_9_and_again(bench: Bench, image: Path, rehearse: Open, number: int) -> None:
    account = rehearse(latency=0.05)
    process = bench.start("publish", image, "--region", REGION)
    end = time.monotonic() + 30
    while len(account.calls) < number and process.poll() is None and time.monotonic() < end:
        time.sleep(0.001)
    process.kill()
    process.wait()
    code, out, err = publish(bench)
    assert code == 0, err
    assert out == f"{account.images(REGION)[0].id}\n"
    assert is_whole(account, image)


def test_blocks_that_are_in_are_not_sent_again(bench: Bench, rehearse: Open, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(os.urandom(100 * BLOCK))
    recipe = tmp_path / "big.toml"
    recipe.write_text(
        f'kernel = "{bench.kernel}"\ntargets = ["ebs"]\n[publish.ebs]\nregions = ["{REGION}"]\nworkers = 4\n'
        f'[[root.files]]\nfrom = "{tmp_path}/data"\nto = "/data"\n'
    )
    account = rehearse(latency=0.02)

    def puts() -> int:
        return sum(call.action == "PutSnapshotBlock" for call in account.calls)

    process = bench.start("publish", recipe)
    end = time.monotonic() + 60
    while puts() < 60 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.001)
    process.kill()
    process.wait()
    before = puts()
    code, out, err = ended(bench.start("publish", recipe), 120)
    assert (code, out) == (0, f"{account.images(REGION)[0].id}\n"), err
    (snapshot,) = account.snapshots(REGION)
    assert before < len(snapshot.digests)
    assert "blocks, 5" in err or "blocks, 6" in err, "some sixty are there already"
    assert puts() <= len(snapshot.digests) + 4


def test_a_signal_keeps_what_can_go_on(bench: Bench, image: Path, rehearse: Open) -> None:
    account = rehearse(latency=0.3)
    process = bench.start("publish", image, "--region", REGION)
    end = time.monotonic() + 30
    while "PutSnapshotBlock" not in [call.action for call in account.calls] and time.monotonic() < end:
        time.sleep(0.01)
    process.terminate()
    code, out, err = ended(process)
    assert (code, out) == (143, ""), err
    assert "kept, to go on with: snapshot snap-" in err
    assert held(account) == (0, 1)
    assert publish(bench)[0] == 0
    assert is_whole(account, image)


def test_two_at_once_make_one(bench: Bench, image: Path, rehearse: Open, tmp_path: Path) -> None:
    account = rehearse(latency=0.05)
    both = [
        bench.start(
            "publish", image, "--region", REGION, env={"IMAGEKIT_STATE_DIR": str(tmp_path / f"state-{number}")}
        )
        for number in range(2)
    ]
    results = [ended(process, 120) for process in both]
    assert {code for code, _, _ in results} == {0}, results
    assert len({out for _, out, _ in results}) == 1
    assert is_whole(account, image)


@pytest.mark.parametrize("action", ["DescribeInstanceTypes", "DescribeImages", "RegisterImage"])
def test_a_signal_in_the_middle_of_a_call(bench: Bench, image: Path, rehearse: Open, action: str) -> None:
    account = rehearse(latency=1.0)
    process = bench.start("publish", image, "--region", REGION)
    end = time.monotonic() + 60
    while action not in [call.action for call in account.calls] and time.monotonic() < end:
        time.sleep(0.01)
    process.terminate()
    code, out, err = ended(process, 60)
    assert code == 143, err
    assert bool(out) <= (action == "RegisterImage"), "what was published meanwhile is told"
    assert "Traceback" not in err
    time.sleep(1.5)  # what was asked for may still come
    assert held(account)[0] <= (action == "RegisterImage")
