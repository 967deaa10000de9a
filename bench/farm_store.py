"""What a farm costs: `farm_store.py store` and `farm_store.py dask`, as rows for RESULTS.md.

store: look-ups and pruning with 100,000 results, in the local store and in a shared one in a folder.
dask: a step's overhead with 1, 2 and 4 workers on this machine: 400 steps that write a line each.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from distributed import Client

from imagekit.build import attempt
from imagekit.command import run as run_tool
from imagekit.executor import Executor, Threads
from imagekit.farm import Dask
from imagekit.plan import Output, Plan
from imagekit.runner import Runner
from imagekit.sparse import BlockMap, map_blocks
from imagekit.stages import text_step
from imagekit.store import Store, map_path
from imagekit.store.access import Access
from imagekit.store.packed import pack
from imagekit.store.trust import Claim, Trust, trust

COUNT, LOOKS, STEPS = 100_000, 2_000, 400
DAY = 86400.0


def key(number: int) -> str:
    """Return the key of a result."""
    return sha256(f"key {number}".encode()).hexdigest()


def timed(what: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    begun = time.perf_counter()
    what()
    return time.perf_counter() - begun


def keys(folder: Path) -> Access:
    """Return how a folder's store is got at, with a new pair of keys."""
    private, nfs = folder / "key.pem", folder / "nfs"
    run_tool("openssl", "genpkey", "-algorithm", "ed25519", "-out", private)
    private.chmod(0o600)
    nfs.mkdir()
    return Access(f"file://{nfs}", writer=str(private))


def fill_local(root: Path) -> None:
    """Write a local store of COUNT results of 8 bytes, as builds would have."""
    Store(root)
    for number in range(COUNT):
        data = number.to_bytes(8, "big")
        blocks = BlockMap(8, ((0, sha256(data).digest()),))
        blob = root / "blobs" / blocks.digest
        blob.write_bytes(data)
        map_path(blob).write_bytes(blocks.to_bytes())
        age = time.time() - (number % 100) * DAY
        os.utime(map_path(blob), (age, age))
        status = blob.stat()
        record = {
            "step": "step", "digest": blocks.digest, "length": 8,
            "mtime_ns": status.st_mtime_ns, "inode": status.st_ino,
        }  # fmt: skip
        (root / "results" / key(number)).write_text(json.dumps(record))


def fill_shared(root: Path, writer: Trust) -> None:
    """Write a shared store of COUNT results."""
    draft = root / "draft"
    for number in range(COUNT):
        draft.write_bytes(number.to_bytes(8, "big"))
        blocks = map_blocks(draft) if not number else BlockMap(8, ((0, sha256(draft.read_bytes()).digest()),))
        claim = Claim(key(number), "step", blocks.digest, 8)
        blob, record = (
            root / kind / name[:2] / name for kind, name in (("blobs", blocks.digest), ("results", claim.key))
        )
        for path in (blob, record):
            path.parent.mkdir(parents=True, exist_ok=True)
        with blob.open("wb") as out:
            pack(draft, blocks, out)
        said = {"key": claim.key, "step": "step", "digest": claim.digest, "length": 8}
        record.write_text(json.dumps({**said, "signature": writer.sign(claim)}))
        age = time.time() - (number % 100) * DAY - 7200
        for path in (blob, record):
            os.utime(path, (age, age))
    draft.unlink()


def stores(folder: Path) -> None:
    """Print the rows of stores with many results."""
    chosen = random.Random(1).sample(range(COUNT), LOOKS)  # noqa: S311 -- any choice will do
    fill_local(folder / "cache")
    local = Store(folder / "cache")
    looked = timed(lambda: [local.find(key(number)) for number in chosen]) / LOOKS
    print(f"| look-up of one of {COUNT:,} results | local store | {looked * 1e3:.2f} ms |")
    print(f"| prune a tenth of them | local store | {timed(lambda: local.prune(max_age=89.5 * DAY)):.1f} s |")
    access = keys(folder)
    shared = access.open()
    fill_shared(folder / "nfs", trust((), Path(access.writer or ""), None, unsigned=False))
    looked = timed(lambda: [shared.look_up(key(number)) for number in chosen]) / LOOKS
    print(f"| look-up, its signature checked | shared store in a folder | {looked * 1e3:.2f} ms |")
    second = Store(folder / "second", shared)
    some = chosen[:500]
    fetched = timed(lambda: [second._from_shared(key(number), "step") for number in some]) / len(some)  # noqa: SLF001
    print(f"| fetch of a small result | shared store in a folder | {fetched * 1e3:.2f} ms |")
    pruned = timed(lambda: shared.prune(max_age=89.5 * DAY))
    print(f"| prune a tenth of them | shared store in a folder | {pruned:.1f} s |")
    large(folder, access)


def large(folder: Path, access: Access) -> None:
    """Print how fast a large blob goes in and comes out."""

    def write(out: Path) -> None:
        with out.open("wb") as file:
            for _ in range(256):
                file.write(os.urandom(1 << 20))

    one, two = Store(folder / "one", access.open()), Store(folder / "two", access.open())
    blob = one.keep(write)
    put = timed(lambda: one.share(blob))
    got = timed(lambda: two.fetch(blob.digest))
    print(
        f"| 256 MiB at random | shared store in a folder | in {256 / put:.0f} MiB/s, out {256 / got:.0f} MiB/s |"
    )


@contextmanager
def scheduler(folder: Path) -> Iterator[str]:
    """Start a scheduler and lend its address."""
    where = folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(where)]
    with started([sys.executable, "-m", "distributed.cli.dask_scheduler", *options], folder) as pid:
        (folder / "pid").write_text(str(pid))
        while not where.exists():
            time.sleep(0.1)
        time.sleep(0.5)
        yield json.loads(where.read_text())["address"]
    where.unlink(missing_ok=True)


@contextmanager
def started(argv: list[str], folder: Path, **more: str) -> Iterator[int]:
    """Run a program for the time being."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, **more}, process_group=0)
    try:
        yield process.pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(plan: Plan, store: Store, address: str) -> float:
    """Return the seconds of a plan, on a scheduler's workers or, without an address, on two threads here."""
    runner = Runner(store)
    dask = Dask(address, store, runner.tell) if address else None
    made: Executor = dask or Threads(store, 2, runner.tell)
    seconds = timed(lambda: attempt(plan, runner, lambda _: made))
    if dask is not None:
        dask.close()
    return seconds


def plan(folder: Path, word: str) -> Plan:
    """Return a plan of STEPS small steps."""
    steps = [text_step(f"text-{number}", f"{word} {number}") for number in range(STEPS)]
    return Plan.of(Output("app", "xen", folder / word / one.name, one, {}) for one in steps)


def workers(folder: Path) -> None:
    """Print the rows of 1, 2 and 4 workers."""
    access = keys(folder)
    alone = run(plan(folder, "alone"), Store(folder / "alone-cache"), "")
    print(f"| {STEPS} small steps, two threads, no shared store | {alone / STEPS * 1e3:.1f} ms a step |")
    beside = run(plan(folder, "beside"), Store(folder / "beside-cache", access.open()), "")
    print(f"| the same with a shared store in a folder | {beside / STEPS * 1e3:.1f} ms a step |")
    for count in (1, 2, 4):
        with scheduler(folder) as address:
            argv = [str(Path(sys.executable).with_name("imagekit")), "worker", "--scheduler", address]
            argv += ["--store", access.url, "--store-key", access.writer or "", "--threads", "1", "--can", "root"]
            with ExitStack() as stack:
                for number in range(count):
                    cache = str(folder / f"worker-{count}-{number}")
                    stack.enter_context(started([*argv, "--", "--no-nanny"], folder, IMAGEKIT_CACHE_DIR=cache))
                measure(folder, access, address, count)


def scheduler_time(folder: Path) -> float:
    """Return the processor's seconds that the scheduler has had (proc(5), stat: fields 14 and 15)."""
    fields = Path("/proc", (folder / "pid").read_text(), "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(folder: Path, access: Access, address: str, count: int) -> None:
    """Print the row of so many workers."""
    with Client(address, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        client.wait_for_workers(count, timeout=60)
    name = f"{count}-workers"
    before, theirs = time.process_time(), scheduler_time(folder)
    cold = run(plan(folder, name), Store(folder / f"{name}-cache", access.open()), address)
    ours, theirs = (time.process_time() - before) / STEPS, (scheduler_time(folder) - theirs) / STEPS
    fresh = run(plan(folder, name), Store(folder / f"{name}-fresh", access.open()), address)
    print(
        f"| the same by {count} Dask worker{'s' if count > 1 else ''} | {cold / STEPS * 1e3:.1f} ms a step; "
        f"front {ours * 1e3:.1f} ms of a processor, scheduler {theirs * 1e3:.1f} ms; "
        f"all from the store on a fresh front: {fresh / STEPS * 1e3:.1f} ms |",
        flush=True,
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as place:
        {"store": stores, "dask": workers}[sys.argv[1]](Path(place))
