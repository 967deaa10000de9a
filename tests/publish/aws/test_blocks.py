"""Uploads over real TLS to the strict server; what it holds at the end is the image, whatever went wrong."""

import os
import ssl
import threading
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from imagekit.errors import PublishError
from imagekit.publish.aws.blocks import wanted
from imagekit.publish.aws.connection import ServerError, WireError
from imagekit.publish.aws.upload import Patience
from imagekit.rehearsal.sigv4 import Keys
from imagekit.sparse import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.publish.aws.conftest import Bench

    Make = Callable[..., Bench]

PUT = "PutSnapshotBlock"
STORED = [0, 1, 2, 5, 11, 12, 13, 14]


def puts(bench: "Bench") -> Counter[int]:
    return Counter(call.status for call in bench.server.calls if call.action == PUT)


@pytest.mark.parametrize("token", [None, "tok/en+with==marks"])
def test_the_image_arrives(bench: "Make", token: str | None) -> None:
    here = bench(keys=Keys(token=token))
    snapshot = here.start()
    told: list[int] = []
    done = here.put(snapshot, options=here.options(done=told.append))
    here.complete(snapshot, done)
    assert (done.count, done.sent, sorted(told)) == (8, 8, STORED)
    assert sorted(here.server.snapshot(snapshot).digests) == STORED
    assert here.is_the_image(snapshot)
    assert here.server.connections <= 4 + 1  # one a worker, and boto3's


def test_an_encrypted_snapshot_gets_every_block(bench: "Make") -> None:
    here = bench(default_encryption=True, put_rate=9999)
    answer = here.client.start_snapshot(VolumeSize=1)
    assert answer["KmsKeyArn"]
    done = here.put(answer["SnapshotId"], encrypted=True, options=here.options(quota=9999.0))
    here.complete(answer["SnapshotId"], done)
    assert done.count == 2048
    assert here.is_the_image(answer["SnapshotId"])


def test_skipped_zeros_of_an_encrypted_snapshot_are_garbage(bench: "Make") -> None:
    here = bench(default_encryption=True)
    snapshot = here.start()
    here.complete(snapshot, here.put(snapshot, encrypted=False))
    assert not here.is_the_image(snapshot)


@pytest.mark.parametrize(
    "kind", ["500", "503", "throttle", "reset", "lost", "truncated", "close", "stale", "hang"]
)
@pytest.mark.parametrize("calls", ["1", "3-4", "8"])
def test_each_fault_is_survived(bench: "Make", kind: str, calls: str) -> None:
    here = bench(faults=(f"{PUT} {calls} {kind}",))
    snapshot = here.start()
    told: list[int] = []
    patience = Patience(connect=2, read=0.4, attempts=4, settle=5, throttled=20, first=0.02, longest=0.2)
    done = here.put(snapshot, options=here.options(done=told.append, patience=patience))
    here.complete(snapshot, done)
    assert sorted(told) == STORED
    assert here.is_the_image(snapshot)


@pytest.mark.parametrize("kind", ["500", "reset", "truncated", "hang"])
def test_a_fault_that_stays_ends_the_upload(bench: "Make", kind: str) -> None:
    here = bench(faults=(f"{PUT} 1-9999 {kind}",))
    patience = Patience(read=0.2, attempts=3, first=0.01, longest=0.02)
    begun = time.monotonic()
    with pytest.raises((ServerError, WireError)):
        here.put(here.start(), options=here.options(patience=patience))
    assert time.monotonic() - begun < 10
    assert puts(here).total() <= 4 * 3


def test_a_throttled_server_is_obeyed(bench: "Make") -> None:
    here = bench(put_rate=30)
    snapshot = here.start()
    only = range(60)
    patience = Patience(throttled=20)
    done = here.put(snapshot, options=here.options(workers=16, patience=patience), only=only)
    here.complete(snapshot, done)
    assert puts(here)[201] == 60
    assert puts(here)[400] < 2 * 60
    assert here.is_the_image(snapshot)


def test_throttling_without_end_is_given_up(bench: "Make") -> None:
    here = bench(faults=(f"{PUT} 1-9999 throttle",))
    patience = Patience(throttled=0.3, first=0.01, longest=0.05)
    with pytest.raises(PublishError, match="throttles"):
        here.put(here.start(), options=here.options(patience=patience))


def test_denied_at_once(bench: "Make") -> None:
    here = bench(denied=frozenset({PUT}))
    with pytest.raises(PublishError) as caught:
        here.put(here.start())
    assert puts(here).total() <= 4
    assert "AccessDeniedException" in str(caught.value)
    assert "ebs:PutSnapshotBlock" in caught.value.hint


def test_a_new_snapshot_may_not_exist_yet(bench: "Make") -> None:
    here = bench(settle=0.5)
    snapshot = here.start()
    done = here.put(snapshot)
    here.complete(snapshot, done)
    assert puts(here)[404] > 0
    assert here.is_the_image(snapshot)


def test_a_snapshot_that_never_comes_is_an_error(bench: "Make") -> None:
    here = bench()
    patience = Patience(settle=0.2, first=0.01, longest=0.05)
    with pytest.raises(PublishError, match="refused") as caught:
        here.put("snap-0123", options=here.options(patience=patience))
    assert "does not exist" in caught.value.details


def test_resumed_after_a_stop_anywhere(bench: "Make") -> None:
    here = bench()
    snapshot = here.start()
    told: list[int] = []

    def done_until_three(index: int) -> None:
        told.append(index)
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        here.put(snapshot, options=here.options(done=done_until_three))
    done = here.put(snapshot, already=set(told))
    here.complete(snapshot, done)
    assert (done.count, done.sent) == (8, 8 - len(told))
    assert here.is_the_image(snapshot)


def test_nothing_is_left_to_send(bench: "Make") -> None:
    here = bench()
    snapshot = here.start()
    first = here.put(snapshot)
    again = here.put(snapshot, already=STORED)
    assert again == replace(first, sent=0)
    with pytest.raises(PublishError, match="already holds"):
        here.put(snapshot, already=[3])


def test_a_parent_gives_the_rest(bench: "Make") -> None:
    here = bench()
    parent = here.start()
    here.complete(parent, here.put(parent))
    with open(here.image, "r+b") as file:
        file.write(os.urandom(BLOCK) + bytes(BLOCK))
    changed = type(here)(here.server, here.image)
    child = changed.start(ParentSnapshotId=parent)
    done = changed.put(child, only={0, 1})
    changed.complete(child, done)
    assert done.count == 2
    assert changed.is_the_image(child)
    changed.client.close()


@pytest.mark.parametrize("change", ["byte", "shorter", "end"])
def test_an_image_that_changes_is_refused(bench: "Make", change: str) -> None:
    here = bench()
    with open(here.image, "r+b") as file:
        if change == "shorter":
            file.truncate(2 * BLOCK)
        else:
            file.seek(7 if change == "byte" else here.blocks.length - 1)
            file.write(b"\1")
    with pytest.raises(PublishError, match="changed"):
        here.put(here.start())


def test_fresh_credentials_are_asked_for(bench: "Make") -> None:
    here = bench(keys=Keys(token="new", expired=frozenset({"old"})))  # noqa: S106 -- a made-up one
    snapshot = here.start()
    access, secret, _ = here.credentials()
    lock, asked = threading.Lock(), [0]

    def credentials() -> tuple[str, str, str | None]:
        with lock:
            asked[0] += 1
            return access, secret, "old" if asked[0] <= 1 else "new"

    done = here.put(snapshot, credentials=credentials, options=here.options(workers=1))
    here.complete(snapshot, done)
    assert here.is_the_image(snapshot)


@pytest.mark.parametrize("wrong", ["secret", "token", "expired"])
def test_no_secret_in_an_error(bench: "Make", wrong: str) -> None:
    session, expired = "sessiontoken/0123456789", "expiredtoken/0123456789"
    here = bench(keys=Keys(token=session, expired=frozenset({expired})))
    access, secret, token = here.credentials()
    bad = {
        "secret": (access, "another-secret-0123", token),
        "token": (access, secret, "foreigntoken/0123"),
        "expired": (access, secret, expired),
    }[wrong]
    with pytest.raises(PublishError) as caught:
        here.put(here.start(), credentials=lambda: bad)
    seen: BaseException | None = caught.value
    while seen is not None:
        assert not any(part and part in f"{seen} {seen!r} {vars(seen)}" for part in bad)
        seen = seen.__cause__
    assert puts(here).total() <= 4


def test_an_untrusted_certificate_is_refused(bench: "Make") -> None:
    here = bench()
    with pytest.raises(PublishError, match="not trusted"):
        here.put(here.start(), options=here.options(trust=ssl.create_default_context))
    assert not puts(here)


def test_nobody_listens(bench: "Make") -> None:
    here = bench()
    snapshot = here.start()
    here.client.close()
    here.server.close()
    with pytest.raises(WireError, match="no connection"):
        here.put(snapshot, options=here.options(patience=Patience(attempts=2, first=0.01)))


@pytest.mark.parametrize("wrong", [{"already": [9999]}, {"only": [2048]}, {"only": [-1]}])
def test_blocks_outside_of_the_volume(bench: "Make", wrong: dict[str, Any]) -> None:
    here = bench()
    with pytest.raises((PublishError, ValueError)):
        here.put("snap-0123", **wrong)


def test_an_image_larger_than_the_volume(bench: "Make") -> None:
    here = bench()
    with pytest.raises(PublishError, match="does not fit"):
        wanted(replace(here.blocks, length=(1 << 30) + 1), here.target("snap-1"))
