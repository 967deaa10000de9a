"""Two caches and one store, in a folder and in a bucket: what one has made, no other makes."""

import os
from pathlib import Path

import pytest

from imagekit.build import Runner, build
from imagekit.errors import BuildError, TryAgainError, UsageError
from imagekit.events import Event, StepDone
from imagekit.prepare import Request, prepare
from imagekit.sparse import BLOCK, allocated, digest_file
from imagekit.store import Store
from imagekit.store.backend import backend
from tests.store.farm import Bucket, Farm, reader, writer
from tests.store.making import KEY, OTHER, make, nothing

DAY = 86400.0


def test_a_fresh_worker_builds_nothing_that_the_farm_has_built(farm: Farm, kernels: Path, tmp_path: Path) -> None:
    heard: list[Event] = []

    def built(store: Store, name: str) -> tuple[list[bool], list[str]]:
        heard.clear()
        request = Request((kernels / "hello.xen",), ("xen", "ebs"), f"{tmp_path / name}/")
        runner = Runner(store, heard.append)
        with store.in_use():
            prepared = prepare(request, runner, {})
        artifacts = build(prepared.plan, store, heard.append, runner=runner)
        cached = [event.cached for event in heard if isinstance(event, StepDone)]
        return cached, [digest_file(artifact.path) for artifact in artifacts]

    first, made = built(farm.cache("one"), "one")
    assert not any(first)
    second, fetched = built(farm.cache("two", reader()), "two")
    assert len(second) == len(first)
    assert all(second)
    assert (fetched, farm.said) == (made, [])


def test_holes_are_not_sent_and_stay_holes(farm: Farm) -> None:
    def produce(out: Path, _reason: str) -> None:
        with out.open("wb") as file:
            file.truncate(1 << 40)
            file.seek(BLOCK * 7 + 5)
            file.write(os.urandom(BLOCK))

    one, two = farm.cache("one"), farm.cache("two")
    with one.in_use():
        stored, _ = one.make(KEY, "step", produce, waiting=nothing, damaged=print)
    assert sum(item.size for item in farm.backend.items("blobs")) < 2 * BLOCK
    with two.in_use():
        fetched, cached = two.make(KEY, "step", produce, waiting=nothing, damaged=print)
    assert cached
    assert (fetched.digest, fetched.blocks()) == (stored.digest, stored.blocks())
    assert allocated(fetched.path) == allocated(stored.path) < 3 * BLOCK
    assert list(two.verify()) == [(fetched.digest, None)]
    assert not list((two.root / "tmp").iterdir())


def test_who_has_no_key_reads_only(farm: Farm) -> None:
    make(farm.cache("one", reader()))
    assert farm.names() == []
    make(farm.cache("two"))
    assert make(farm.cache("three", reader()))[1] is True


def test_of_two_that_made_the_same_at_once_the_first_one_stands(farm: Farm) -> None:
    """Of a step that does not make the same bytes each time, the whole farm has one result."""
    one, two = farm.cache("one"), farm.cache("two")

    def slow(out: Path, _reason: str) -> None:
        make(two, KEY, b"theirs")  # before we are done
        out.write_bytes(b"ours")

    with one.in_use():
        stored, cached = one.make(KEY, "step", slow, waiting=nothing, damaged=print)
    assert (stored.path.read_bytes(), cached) == (b"theirs", False)
    assert make(one) == (stored, True)
    assert len(farm.names("results")) == 1


def test_a_plan_knows_the_store_and_fetches_nothing(farm: Farm) -> None:
    stored, _ = make(farm.cache("one"))
    two = farm.cache("two")
    found = two.look(KEY)
    assert found.result is not None
    assert (found.result.digest, found.reason) == (stored.digest, f"in the store {farm.url}")
    assert list((two.root / "blobs").iterdir()) == []
    assert two.look(OTHER).result is None


def test_blobs_by_their_digest(farm: Farm) -> None:
    one, two = farm.cache("one"), farm.cache("two")

    def source_file(out: Path) -> None:
        out.write_bytes(b"a source")

    source = one.keep(source_file)
    assert two.fetch(source.digest) is None
    assert one.share(source)
    fetched = two.fetch(source.digest)
    assert fetched is not None
    assert fetched.path.read_bytes() == b"a source"
    assert two.fetch(source.digest) == fetched


def aged(farm: Farm, name: str, seconds: float) -> None:
    path = Path(farm.url.removeprefix("file://"), name)
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_pruning_by_age_and_by_size(nfs: Farm) -> None:
    one = nfs.cache("one")
    for number in range(4):
        make(one, str(number) * 64, os.urandom(BLOCK))
    shared = one.shared
    assert shared is not None
    assert shared.prune(keep_bytes=0) == (0, 0), "what was just used stays"
    blobs = {record.digest: key for key, record in one.records()}
    for number, digest in enumerate(sorted(blobs, key=lambda digest: blobs[digest])):
        aged(nfs, f"blobs/{digest[:2]}/{digest}", DAY * (5 - number))
        aged(nfs, f"results/{number}{number}/{blobs[digest]}", DAY * (5 - number))
    assert shared.prune(max_age=4.5 * DAY)[0] == 1
    assert shared.prune(keep_bytes=2 * BLOCK)[0] == 2
    assert nfs.names("results") == [f"results/33/{'3' * 64}"]
    assert len(nfs.names("blobs")) == 1
    two = nfs.cache("two")
    assert [make(two, str(number) * 64, b"new")[1] for number in range(4)] == [False, False, False, True]


def test_a_use_saves_from_pruning(nfs: Farm) -> None:
    make(nfs.cache("one"))
    for name in nfs.names():
        aged(nfs, name, 30 * DAY)
    assert make(nfs.cache("two", reader()))[1] is True
    shared = nfs.cache("three").shared
    assert shared is not None
    assert shared.prune(max_age=DAY) == (0, 0)


def test_a_reader_goes_on_when_what_it_reads_is_pruned(nfs: Farm) -> None:
    make(nfs.cache("one"))
    (blob,) = nfs.names("blobs")
    with nfs.backend.reading(blob) as found:
        nfs.backend.remove([blob])
        assert found is not None
        assert len(found[0].read(1 << 20)) == found[1].size
    assert make(nfs.cache("two"))[1] is False, "a record without its blob counts for nothing"
    assert nfs.names("blobs") == [blob]
    assert nfs.said == []


def test_in_a_bucket_a_use_is_a_copy_and_pruning_deletes(bucket: Bucket, tmp_path: Path) -> None:
    farm = Farm(bucket(), tmp_path)
    make(farm.cache("one"))
    before = {item.name: item.used for item in farm.backend.items("blobs")}
    for name in before:
        farm.backend.use(name)
    assert all(item.used >= before[item.name] for item in farm.backend.items("blobs"))
    assert make(farm.cache("two"))[1] is True
    farm.backend.remove(farm.names())
    assert farm.names() == []
    assert farm.backend.sweep(0) == 0


@pytest.mark.parametrize(
    "faults, words",
    [
        (["GetObject 1-99 503"], "does not work"),
        (["GetObject 1-99 throttle"], "does not work"),
        (["GetObject 1-99 denied"], "refuses"),
        (["PutObject 1-99 denied"], "refuses"),
        (["PutObject 1-99 500"], "does not work"),
        (["HeadObject 1-99 denied"], "refuses"),
    ],
)
def test_a_store_that_fails_stops_no_build(bucket: Bucket, tmp_path: Path, faults: list[str], words: str) -> None:
    farm = Farm(bucket(faults=tuple(faults)), tmp_path)
    one = farm.cache("one")
    for number in range(5):
        assert make(one, str(number) * 64)[0].path.read_bytes() == b"content"
    assert len(farm.said) == 1
    assert words in farm.said[0]
    with pytest.raises((BuildError, TryAgainError), match=words):
        make(farm.cache("two", required=True), OTHER)


def test_an_answer_that_is_cut_off(bucket: Bucket, tmp_path: Path) -> None:
    farm = Farm(bucket(faults=("GetObject 2-99 truncated",)), tmp_path)
    make(farm.cache("one"))
    stored, cached = make(farm.cache("two"))
    assert (stored.path.read_bytes(), cached) == (b"content", False)
    assert ["does not work" in line for line in farm.said] == [True]


def test_a_store_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    farm = Farm(f"file://{tmp_path / 'not-mounted'}", tmp_path)
    assert make(farm.cache("one"))[1] is False
    assert [line.count("is it mounted?") for line in farm.said] == [1]
    assert not (tmp_path / "not-mounted").exists()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "eu-west-1")
    down = Farm("s3://the-farm", tmp_path)
    assert make(down.cache("two"))[1] is False
    assert len(down.said) == 1
    with pytest.raises(TryAgainError, match="does not work"):
        make(down.cache("three", required=True))


def test_a_folder_that_is_read_only(nfs: Farm, tmp_path: Path) -> None:
    make(nfs.cache("one"))
    (tmp_path / "nfs" / "tmp").rmdir()
    (tmp_path / "nfs" / "tmp").touch()  # root may write wherever there are modes
    assert make(nfs.cache("two"), OTHER)[1] is False
    assert len(nfs.said) == 1
    assert make(nfs.cache("three"))[1] is True


def test_what_is_no_store() -> None:
    for url in ("s3://UPPER/x", "http://host/x", "file://host/x", "/plain", "file:relative"):
        with pytest.raises(UsageError, match="no store"):
            backend(url)
    assert writer(2) != writer()
