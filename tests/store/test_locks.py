"""Two who make one thing, and who prunes beside a build: threads and processes."""

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imagekit.errors import BuildError, TryAgainError
from imagekit.store import Store
from tests.store.making import KEY, nothing


def test_no_pruning_while_in_use(store: Store) -> None:
    with store.in_use(), store.in_use(), pytest.raises(TryAgainError, match="in use") as caught:
        Store(store.root).prune(keep_bytes=0)
    assert caught.value.exit_code == 75
    assert store.prune(keep_bytes=0) == (0, 0)


def test_two_threads_make_one_key_once(store: Store) -> None:
    begun, go_on = threading.Event(), threading.Event()
    waited: list[str] = []

    def slow(out: Path, _reason: str) -> None:
        begun.set()
        assert go_on.wait(20)
        out.write_bytes(b"content")

    def second(_out: Path, _reason: str) -> None:
        pytest.fail("made twice")

    def waiting() -> None:
        waited.append("waited")
        go_on.set()

    with store.in_use(), ThreadPoolExecutor(2) as pool:
        one = pool.submit(store.make, KEY, "step", slow, waiting=nothing, damaged=print)
        assert begun.wait(20)
        two = pool.submit(store.make, KEY, "step", second, waiting=waiting, damaged=print)
        assert (one.result()[1], two.result()[1]) == (False, True)
        assert one.result()[0] == two.result()[0]
    assert waited == ["waited"]


def test_a_wait_that_is_given_up(store: Store) -> None:
    begun, go_on, unwanted = threading.Event(), threading.Event(), threading.Event()

    def slow(out: Path, _reason: str) -> None:
        begun.set()
        go_on.wait(20)
        out.write_bytes(b"content")

    with store.in_use(), ThreadPoolExecutor(1) as pool:
        one = pool.submit(store.make, KEY, "step", slow, waiting=nothing, damaged=print)
        assert begun.wait(20)
        with pytest.raises(TryAgainError, match="given up"):
            store.make(KEY, "step", slow, waiting=unwanted.set, damaged=print, unwanted=unwanted.is_set)
        go_on.set()
        assert one.result()[1] is False


MAKER = """
import sys, time
from pathlib import Path
from imagekit.store import Store
def produce(out, reason):
    print("making", flush=True)
    sys.stdin.readline()
    out.write_bytes(b"content")
store = Store(Path(sys.argv[1]))
with store.in_use():
    made = store.make("a" * 64, "step", produce, waiting=lambda: print("waiting", flush=True), damaged=print)
print("cached" if made[1] else "made", flush=True)
"""

Start = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def maker(store: Store) -> Start:
    """Return a function that starts a process which makes KEY once a line comes to its stdin."""

    def start() -> "subprocess.Popen[str]":
        argv = [sys.executable, "-c", MAKER, str(store.root)]
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    return start


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_processes_make_one_key_once(maker: Start) -> None:
    with maker() as one:
        assert said(one) == "making"
        with maker() as two:
            assert said(two) == "waiting"
            assert one.communicate("\n", 20)[0] == "made\n"
            assert two.communicate(timeout=20)[0] == "cached\n"


def test_who_waits_takes_over_from_the_killed(store: Store, maker: Start) -> None:
    with maker() as one:
        assert said(one) == "making"
        with maker() as two:
            assert said(two) == "waiting"
            one.kill()
            assert said(two) == "making"
            assert two.communicate("\n", 20)[0] == "made\n"
    assert len(list((store.root / "tmp").iterdir())) == 1, "the killed one's work"
    with store.in_use():
        assert not list((store.root / "tmp").iterdir())


def test_the_work_of_the_living_is_not_swept(store: Store, maker: Start) -> None:
    with maker() as process:
        assert said(process) == "making"
        with store.in_use():
            assert len(list((store.root / "tmp").iterdir())) == 1
        assert process.communicate("\n", 20)[0] == "made\n"
    assert not list((store.root / "tmp").iterdir())


def test_a_cache_that_cannot_be_locked(store: Store) -> None:
    (store.root / "in-use").mkdir()
    with pytest.raises(BuildError, match="cannot be used"), store.in_use():
        pass
