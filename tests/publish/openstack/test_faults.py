"""Faults at every call of a publication to a cloud, kills and signals: one whole image is left, or nothing."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from tests.faults.conftest import Bench, bench, ended
from tests.openstack.gate import Gate
from tests.publish.openstack.conftest import SDK, Cloud, left

__all__ = ["bench"]

pytestmark = [pytest.mark.xdist_group("openstack"), pytest.mark.filterwarnings(*SDK)]
MIB = 1 << 20
HOW = {
    "direct": ("openstack", ()),
    "web-download": ("openstack", ("--method", "web-download")),
    "task": ("rackspace", ("--patience", "5")),
}


@dataclass(frozen=True)
class Site:
    """A cloud, a VHD of some MiB, and imagekit to bring it there."""

    bench: Bench
    gate: Gate
    cloud: Cloud
    recipe: Path
    image: Path
    how: str

    def start(self, **environment: str) -> object:
        """Start a publication."""
        target, options = HOW[self.how]
        return self.bench.start("publish", self.recipe, "-t", target, *options, env=environment)

    def publish(self) -> tuple[int, str, str]:
        """Publish, to the end."""
        return ended(self.start(), 180)  # type: ignore[arg-type]

    def is_whole(self, image: str) -> bool:
        """Tell whether this image is there and what was sent, and nothing else."""
        assert left(self.cloud) == ([image], [])
        return bool(self.cloud.image.download_image(image).content == self.image.read_bytes())


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, kernels: Path) -> Callable[[str], Path]:
    """Return a function that builds a VHD with 5 MiB of random data for a target, once."""
    folder = tmp_path_factory.mktemp("cloud-image")
    (folder / "data").write_bytes(os.urandom(5 * MIB))
    recipe = folder / "app.toml"
    recipe.write_text(
        f'kernel = "{kernels}/hello.xen"\n[[root.files]]\nfrom = "{folder}/data"\nto = "/data"\n'
        '[openstack]\nformat = "vhd"\n'
        '[publish.openstack]\nsegment = "2MiB"\n[publish.rackspace]\nsegment = "2MiB"\n'
    )

    def built(target: str) -> Path:
        path = folder / f"{target}.vhd"
        if not path.exists():
            process = Bench(folder, kernels / "hello.xen").start("build", recipe, "-t", target, "-o", path, "-q")
            assert ended(process)[0] == 0
        return path

    return built


@pytest.fixture
def site(bench: Bench, gate: Gate, cloud: Cloud, images: Callable[[str], Path], how: str) -> Site:
    """A cloud for a way of publishing."""
    gate.tasks.enabled = how == "task"
    image = images(HOW[how][0])
    return Site(bench, gate, cloud, image.with_name("app.toml"), image, how)


CALLS = {"direct": 17, "web-download": 39, "task": 36}
"""So many calls such a publication takes, at most."""
FEW = {"direct": {7}, "web-download": {11}, "task": {14, 18}}


FAULTS = ("500", "403", "reset", "cut=1000", "revoke")


def calls() -> list[object]:
    """Return each way with each number of its calls, those that are not in the normal run marked `long`."""
    return [
        pytest.param(how, number, marks=() if number in FEW[how] else pytest.mark.long)
        for how, most in CALLS.items()
        for number in range(1, most + 1)
    ]


def sweep() -> Iterator[object]:
    """Yield each fault at each call of each way; what is not in the normal run is marked `long`.

    That has each fault, and every other one of each call that it has.
    """
    for (how, most), (at, what) in product(CALLS.items(), enumerate(FAULTS)):
        for number in range(1, most + 1):
            normal = number in FEW[how] and (number + at) % 2 == 0
            yield pytest.param(how, number, what, marks=() if normal else pytest.mark.long)


@pytest.mark.parametrize("how", CALLS)
def test_it_takes_so_many_calls(site: Site) -> None:
    code, out, err = site.publish()
    assert code == 0, err
    assert site.is_whole(out.strip())
    assert len(site.gate.calls) <= CALLS[site.how], site.gate.calls


@pytest.mark.parametrize("how,number,what", list(sweep()))
def test_any_fault_at_any_call(site: Site, number: int, what: str) -> None:
    site.gate.fault(f"* . {number} {what}")
    code, out, err = site.publish()
    assert code in {0, 5}, err
    assert "Traceback" not in err
    site.gate.faults = []
    if code == 0:
        assert site.is_whole(out.strip()), err
    else:
        assert left(site.cloud) == ([], []) or "left in " in err, err
    code, out, err = site.publish()
    assert code == 0, err
    assert site.is_whole(out.strip()), err


@pytest.mark.parametrize("how,number", calls())
def test_kill_9_and_again(site: Site, number: int) -> None:
    site.gate.latency = 0.05
    process = site.start()
    _wait_for(lambda: len(site.gate.calls) >= number, process)
    process.kill()  # type: ignore[attr-defined]
    process.wait()  # type: ignore[attr-defined]
    site.gate.latency = 0
    code, out, err = site.publish()
    assert code == 0, err
    images, objects = left(site.cloud)
    assert objects == []
    assert out.strip() in images
    made = [one for one in images if one != out.strip()]
    assert len(made) <= 1, "at most the one that was made and not noted yet"
    if made:
        swept = ended(site.bench.start("receipts", "sweep", "--older-than", "0h"), 60)
        assert (swept[0], swept[1]) == (0, f"{made[0]}\n"), swept
    assert site.is_whole(out.strip())


@pytest.mark.parametrize("how", CALLS)
def test_a_signal_keeps_what_can_go_on(site: Site) -> None:
    site.gate.latency = 0.2
    process = site.start()
    put = {"direct": "/file", "web-download": "/00000001", "task": "/00000001"}[site.how]
    _wait_for(lambda: any(call.endswith(put) for call in site.gate.calls), process)
    process.terminate()  # type: ignore[attr-defined]
    code, out, err = ended(process)  # type: ignore[arg-type]
    assert code == 143, err
    assert ("kept, to go on with: " in err) is not bool(out), "what was published meanwhile is told"
    site.gate.latency = 0
    code, out, err = site.publish()
    assert code == 0, err
    assert site.is_whole(out.strip())


@pytest.mark.parametrize("states", [1, 2])
@pytest.mark.parametrize("how", ["direct", "task", pytest.param("web-download", marks=pytest.mark.long)])
def test_two_at_once_make_one(site: Site, tmp_path: Path, states: int) -> None:
    site.gate.latency = 0.05
    both = [site.start(IMAGEKIT_STATE_DIR=str(tmp_path / f"state-{number % states}")) for number in range(2)]
    results = [ended(process, 180) for process in both]  # type: ignore[arg-type]
    assert {code for code, _, _ in results} == {0}, results
    assert len({out for _, out, _ in results}) == 1, results
    assert site.is_whole(results[0][1].strip()), results


def _wait_for(there: Callable[[], bool], process: object, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not there() and time.monotonic() < end and process.poll() is None:  # type: ignore[attr-defined]
        time.sleep(0.002)
