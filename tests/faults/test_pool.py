"""Faults at every call of a publication to a pool, and kills: one VDI and its VM are left, or nothing."""

import os
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest

from imagekit.sparse import map_blocks
from tests.cli.conftest import cli, hello, script
from tests.fakes.conftest import Pools, pools
from tests.fakes.xapi.pool import Pool
from tests.fakes.xapi.settings import XCP_NG_8_2, Storage
from tests.faults.conftest import Bench, ended

__all__ = ["cli", "hello", "pools", "script"]

MIB = 1 << 20
WHOLE = {"VDI": 1, "VM": 1, "VBD": 1}
REQUEST = ("--start", "--watch", "1")
Open = Callable[..., "Site"]


class Site:
    """A pool, an image, and imagekit to bring it there."""

    def __init__(self, bench: Bench, pool: Pool, image: Path) -> None:
        self.bench, self.pool, self.image = bench, pool, image
        self.host = ("--host", pool.url.removeprefix("https://"), "--fingerprint", pool.fingerprint)

    def publish(self, *more: str) -> tuple[int, str, str]:
        """Publish the image."""
        return ended(self.bench.start("publish", self.image, *self.host, *more), 120)

    def is_whole(self, left: dict[str, int] | None = None) -> bool:
        """Whether there is one VDI, which is the image, and its VM; and nothing else."""
        vdis = self.pool.vdis()
        return (
            len(vdis) == 1
            and self.pool.left() == (WHOLE if left is None else left)
            and map_blocks(self.pool.disk(vdis[0]["uuid"])) == map_blocks(self.image)
        )

    def wait_for(self, there: Callable[[], bool], process: object = None, seconds: float = 30) -> None:
        """Wait until something holds, or the process has ended."""
        end = time.monotonic() + seconds
        while not there() and time.monotonic() < end and (process is None or process.poll() is None):  # type: ignore[attr-defined]
            time.sleep(0.001)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, kernels: Path) -> Path:
    """Return a raw image of 16 MiB, some 9 of them random: a VHD of it has more than 8."""
    folder = tmp_path_factory.mktemp("pool-image")
    (folder / "data").write_bytes(os.urandom(9 * MIB))
    recipe = folder / "big.toml"
    recipe.write_text(
        f'kernel = "{kernels}/hello.xen"\ntargets = ["xcp"]\nxcp.format = "raw"\ndisk.size = "16MiB"\n'
        f'[[root.files]]\nfrom = "{folder}/data"\nto = "/data"\n'
    )
    process = Bench(folder, kernels / "hello.xen").start("build", recipe, "-o", folder / "big.raw", "-q")
    assert ended(process)[0] == 0
    return folder / "big.raw"


@pytest.fixture
def site(bench: Bench, pools: Pools, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Return a function that opens a pool: site(faults=("VM.create 1 500",))."""
    monkeypatch.setenv("IMAGEKIT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XAPI_USER", raising=False)

    def made(**settings: object) -> Site:
        pool = pools(**{"product": XCP_NG_8_2, **settings})
        monkeypatch.setenv("XAPI_PASSWORD", pool.settings.password)
        return Site(bench, pool, image)

    return made


def some(numbers: range, normal: set[int]) -> list[object]:
    """Return the numbers, those that are not in the normal run marked `long`."""
    return [one if one in normal else pytest.param(one, marks=pytest.mark.long) for one in numbers]


@pytest.mark.parametrize("at", some(range(10), {0, 5, 9}))
def test_an_upload_that_is_cut_begins_again(site: Open, at: int) -> None:
    there = site(faults=(f"import_raw_vdi 1 cut={max(1, at * MIB)}",))
    code, out, err = there.publish()
    assert code == 0, err
    assert "it begins again" in err
    assert out == f"{there.pool.vdis()[0]['uuid']}\n"
    assert there.is_whole({"VDI": 1})
    assert there.pool.complaints == []


@pytest.mark.parametrize("at", some(range(10), {2, 9}))
def test_an_upload_that_is_always_cut_leaves_nothing(site: Open, at: int) -> None:
    there = site(faults=(f"import_raw_vdi 1-3 cut={max(1, at * MIB)}",))
    code, out, err = there.publish()
    assert (code, out) == (5, ""), err
    assert there.pool.left() == {}
    assert there.publish(*REQUEST)[0] == 0
    assert there.is_whole()


@pytest.mark.parametrize("fault", ["stall=3000000", "pending", "hang"])
def test_a_host_that_does_nothing_more(site: Open, fault: str) -> None:
    there = site(faults=(f"import_raw_vdi 1-3 {fault}",))
    code, out, err = there.publish("--patience", "1")
    assert (code, out) == (5, ""), err
    assert there.pool.left() == {}
    code, _, err = there.publish("--patience", "1")
    assert code == 0, err
    assert there.is_whole({"VDI": 1})


def test_a_slow_host_is_waited_for(site: Open) -> None:
    there = site(latency=0.3)
    code, _, err = there.publish(*REQUEST)
    assert code == 0, err
    assert there.is_whole()


@pytest.mark.parametrize("kind", ["vhd", "raw"])
def test_a_task_that_lies(site: Open, kind: str) -> None:
    storage = (Storage("Local storage", type="lvm" if kind == "raw" else "ext", vhd=kind == "vhd"),)
    there = site(storage=storage, faults=(f"import_raw_vdi 1 lie={2 * MIB}",))
    code, out, err = there.publish("--check")
    assert (code, out) == (5, "")
    assert "the disk in the pool is not the one that was sent" in err
    assert "they differ in the 512 KiB from byte " in err
    assert there.pool.left() == {}
    code, _, err = there.publish("--check")
    assert code == 0, err
    assert there.is_whole({"VDI": 1})
    assert "export_raw_vdi" in there.pool.names()
    there.pool.set("VDI", there.pool.vdis()[0]["ref"], name_description="")
    os.truncate(there.pool.disk(there.pool.vdis()[0]["uuid"]), 0)
    os.truncate(there.pool.disk(there.pool.vdis()[0]["uuid"]), 16 * MIB)
    code, _, err = there.publish("--check")
    assert code == 5, "what is there already is read as well"
    assert there.pool.left() == {"VDI": 1}, "and is not taken away from whom it may serve"


@pytest.mark.parametrize("fault", ["500", "reset", "INTERNAL_ERROR:x"])
def test_reading_back_that_breaks_off(site: Open, fault: str) -> None:
    there = site(faults=(f"export_raw_vdi 1-3 {fault}",))
    code, _, err = there.publish("--check")
    assert code == 5, err
    assert there.pool.left() == {}


KINDS = ("INTERNAL_ERROR:x", "500", "reset", "lost", "truncated", "expire")
CALLS = 50  # of such a publication at most, login and logout with it: how often a task is asked varies
FEW = {16, 18, 20, 28}


def test_it_takes_so_many_calls(site: Open) -> None:
    there = site()
    assert there.publish(*REQUEST, "--replace", "--check")[0] == 0
    assert len(there.pool.calls) <= CALLS, there.pool.names()


def sweep() -> Iterator[object]:
    """Yield each fault at each call; in the normal run each fault, and every other one of some calls."""
    for number, (at, kind) in product(range(1, CALLS + 1), enumerate(KINDS)):
        normal = number in FEW and (number // 2 + at) % 2 == 0
        yield pytest.param(number, kind, marks=() if normal else pytest.mark.long)


@pytest.mark.parametrize("number,kind", list(sweep()))
def test_any_fault_at_any_call(site: Open, number: int, kind: str) -> None:
    there = site(faults=(f"* {number} {kind}",))
    code, out, err = there.publish(*REQUEST, "--replace", "--check")
    assert code in {0, 5}, err
    assert "Traceback" not in err
    assert there.pool.complaints == []
    left = {key: value for key, value in there.pool.left().items() if key != "session"}
    if len(there.pool.calls) < number:
        assert code == 0, err
        return  # and the fault would be the next run's
    if code == 0:
        assert out == f"{there.pool.vms()[0]['uuid']}\n"
        assert left == WHOLE
    else:
        assert left == {} or "left in the pool" in err, err
    code, _, err = there.publish(*REQUEST, "--replace", "--check")
    assert code == 0, err
    assert there.is_whole(
        {**WHOLE, **{key: value for key, value in there.pool.left().items() if key == "session"}}
    )


@pytest.mark.parametrize("number", some(range(1, 40), {14, 16, 19, 24}))
def test_kill_9_and_again(site: Open, number: int) -> None:
    there = site(latency=0.03)
    process = there.bench.start("publish", there.image, *there.host, *REQUEST)
    there.wait_for(lambda: len(there.pool.calls) >= number, process)
    process.kill()
    process.wait()
    code, out, err = there.publish(*REQUEST)
    assert code == 0, err
    assert out == f"{there.pool.vms()[0]['uuid']}\n"
    left = there.pool.left()
    assert left.pop("task", 0) <= (number == 16), "at most the one that was made and not noted yet"
    assert left | {"session": 1} == {**WHOLE, "session": 1}
    assert map_blocks(there.pool.disk(there.pool.vdis()[0]["uuid"])) == map_blocks(there.image)


def test_a_signal_keeps_what_can_go_on(site: Open) -> None:
    there = site(latency=0.2)
    process = there.bench.start("publish", there.image, *there.host, *REQUEST)
    there.wait_for(lambda: "VM.create" in there.pool.names(), process)
    process.terminate()
    code, out, err = ended(process)
    assert (code, out) == (143, ""), err
    assert "kept, to go on with: " in err
    vdi = there.pool.vdis()[0]["uuid"]
    code, _, err = there.publish(*REQUEST)
    assert code == 0, err
    assert there.pool.vdis()[0]["uuid"] == vdi, "the disk was whole, and is not sent again"
    assert there.is_whole()


@pytest.mark.parametrize("states", [1, 2])
@pytest.mark.parametrize("more", [(), REQUEST], ids=["disk", "machine"])
def test_two_at_once_make_one(site: Open, tmp_path: Path, states: int, more: tuple[str, ...]) -> None:
    there = site(latency=0.02)
    both = [
        there.bench.start(
            "publish",
            there.image,
            *there.host,
            *more,
            env={"IMAGEKIT_STATE_DIR": str(tmp_path / f"state-{number % states}")},
        )
        for number in range(2)
    ]
    results = [ended(process, 120) for process in both]
    assert {code for code, _, _ in results} == {0}, results
    assert len({out for _, out, _ in results}) == 1, results
    assert there.is_whole(WHOLE if more else {"VDI": 1})
