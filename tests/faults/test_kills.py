"""kill -9 at every step: final names are whole or not there, and the next run ends as an undisturbed one."""

import json
import shutil
import time
from pathlib import Path

import pytest

from imagekit.sparse import digest_file
from tests.faults.conftest import Bench, ended, gone

MBR = ("--layout", "mbr")


@pytest.fixture(scope="module")
def expected(kernels: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files of an undisturbed build."""
    folder = tmp_path_factory.mktemp("undisturbed")
    bench = Bench(folder, folder / "app.xen")  # its name is the image's, and in the image
    shutil.copy(kernels / "hello.xen", bench.kernel)
    assert ended(bench.build(*MBR))[0] == 0
    files = bench.files()
    assert set(files) == {f"app.raw{suffix}" for suffix in ("", ".cfg", ".xm.cfg", ".xml", ".imagekit.json")}
    return files


def check(bench: Bench, expected: dict[str, bytes]) -> None:
    """Look at what a kill left, and build again."""
    there = bench.files()
    assert there == {name: expected[name] for name in there}, "every final name is whole"
    main = bench.out / "app.raw"
    if main.exists():
        sidecar = json.loads((bench.out / "app.raw.imagekit.json").read_bytes())
        assert sidecar["digest"] == digest_file(main)
        assert len(there) == len(expected), "the main file comes last"
    status, stdout, words = ended(bench.build(*MBR))
    assert (status, stdout) == (0, f"{main}\n"), words
    assert bench.files() == expected
    assert bench.left() == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("tool", ["mke2fs", "debugfs"])
def test_in_the_middle_of_a_tool(bench: Bench, expected: dict[str, bytes], tool: str, when: str) -> None:
    environment = bench.stopping(tool, when)
    process = bench.build(*MBR, env=environment)
    bench.reached(environment)
    assert bench.left(), "work is under way"
    process.kill()
    process.wait()
    assert not bench.files()
    check(bench, expected)


@pytest.mark.parametrize("part", range(5))
def test_at_any_time(bench: Bench, expected: dict[str, bytes], part: int) -> None:
    """25 kills, from before the first line of our code runs to after the last."""
    for number in range(part, 25, 5):
        process = bench.build(*MBR)
        time.sleep(number * 0.4 / 24)
        process.kill()
        process.wait()
        if bench.store.exists():
            check(bench, expected)
        bench.clear()


@pytest.mark.parametrize("part", range(2))
def test_in_the_blink_of_a_step(bench: Bench, expected: dict[str, bytes], part: int) -> None:
    """From the first event on, the build takes some 50 ms: every 6 ms of them."""
    for number in range(part, 8, 2):
        process = bench.build(*MBR)
        assert process.stderr is not None
        process.stderr.readline()
        time.sleep(number * 0.006)
        process.kill()
        process.wait()
        check(bench, expected)
        bench.clear()


def test_a_new_build_over_an_old_one(bench: Bench, expected: dict[str, bytes]) -> None:
    """Until the new one is whole, the old one stays as it is."""
    assert ended(bench.build())[0] == 0
    old = bench.files()
    environment = bench.stopping("debugfs", "after")
    process = bench.build(*MBR, env=environment)
    bench.reached(environment)
    process.kill()
    process.wait()
    assert bench.files() == old
    assert ended(bench.build(*MBR))[0] == 0
    assert bench.files() == expected


def test_a_tool_that_outlives_us_does_no_harm(bench: Bench, expected: dict[str, bytes]) -> None:
    """After kill -9 nobody ends the children: the orphan wakes up when its folder is another's past."""
    environment = bench.stopping("mke2fs", "before")
    process = bench.build(*MBR, env=environment)
    orphan = bench.reached(environment)
    process.kill()
    process.wait()
    check(bench, expected)
    bench.go(environment)
    assert gone(orphan)
    check(bench, expected)
