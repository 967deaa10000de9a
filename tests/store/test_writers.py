"""Several writers of one store at once, and writers that are killed."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGKILL

from tests.store.farm import Bucket, Farm, writer
from tests.store.making import KEY, make

WRITER = """
import os, sys
from pathlib import Path
from imagekit.store import Store
from imagekit.store.backend import backend
from imagekit.store.shared import Shared
from imagekit.store.trust import Trust

def produce(out, reason):
    with out.open("wb") as file:
        for _ in range(256):
            file.write(os.urandom(1 << 20))

store = Store(Path(sys.argv[1]), Shared(backend(sys.argv[2]), Trust(unsigned=True)))
with store.in_use():
    store.make("a" * 64, "step", produce, waiting=print, damaged=print)
"""


def test_many_writers_of_one_key_agree(farm: Farm) -> None:
    caches = [farm.cache(f"cache-{number}") for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda cache: make(cache, KEY, os.urandom(8))[0], caches))
    (record,) = farm.names("results")
    stands = make(farm.cache("after"))[0]
    assert stands.digest.encode() in farm.read(record)
    # Who began before anybody had told the farm took the first one's word when it told its own.
    assert {one.digest for one in made} == {stands.digest}
    assert farm.said == []


def test_a_writer_that_is_killed_leaves_no_half_blob(nfs: Farm, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "killed", nfs.url])
    until = time.monotonic() + 60
    drafts = tmp_path / "nfs" / "tmp"
    while not drafts.exists() or not any(path.stat().st_size for path in drafts.iterdir()):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(SIGKILL)
    process.wait()
    assert nfs.names() == []
    assert len(list(drafts.iterdir())) == 1
    shared = nfs.cache("after", writer()).shared
    assert shared is not None
    shared.prune(max_age=0)
    assert len(list(drafts.iterdir())) == 1, "somebody may still be at it"
    for path in drafts.iterdir():
        os.utime(path, (0, 0))
    shared.prune(max_age=0)
    assert list(drafts.iterdir()) == []


def test_parts_of_a_killed_upload_are_swept(bucket: Bucket, tmp_path: Path) -> None:
    farm = Farm(bucket(), tmp_path)
    client = farm.backend._client  # type: ignore[attr-defined]  # noqa: SLF001 -- as boto3 leaves it when it is killed
    client.create_multipart_upload(Bucket="the-farm", Key="a/store/blobs/aa/aa")
    # moto says of every upload that it was begun in 2010.
    assert farm.backend.sweep(100 * 365 * 86400) == 0
    assert farm.backend.sweep(86400) == 1
    assert farm.backend.sweep(86400) == 0


def test_a_large_blob_goes_in_parts(bucket: Bucket, tmp_path: Path) -> None:
    farm = Farm(bucket(), tmp_path)
    content = os.urandom(66 << 20)
    make(farm.cache("one"), content=content)
    stored, cached = make(farm.cache("two"))
    assert cached
    assert stored.path.read_bytes() == content
