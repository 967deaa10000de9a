"""Receipts and their ledger."""

import json
from pathlib import Path
from threading import Thread

import pytest

from imagekit.errors import UsageError
from imagekit.receipt import PUBLISHED, Ledger, Receipt, receipt_id


def receipt(name: str = "0123456789abcdef", begun: str = "2026-01-01T00:00:00Z") -> Receipt:
    return Receipt(name, "ebs", "app", "ab" * 32, "eu-west-1", begun=begun)


def test_there_and_back(tmp_path: Path) -> None:
    one = receipt()
    one.resource("snapshot", "snap-1")
    one.resource("image", "ami-1", ours=False)
    one.details["kernel"] = "aki-1"
    ledger = Ledger(tmp_path)
    ledger.write(one)
    assert ledger.find(one.id) == one
    assert [path.name for path in ledger.folder.iterdir()] == [f"{one.id}.json"]
    assert ledger.folder.stat().st_mode & 0o777 == 0o700


def test_a_resource_is_entered_once() -> None:
    one = receipt()
    first = one.resource("snapshot", "snap-1")
    first.gone = True
    assert one.resource("snapshot", "snap-1", ours=False) is first
    assert (first.gone, first.ours) == (False, True)


def test_what_is_left_is_ours_and_there_the_newest_first() -> None:
    one = receipt()
    for name in ("snap-1", "snap-2", "snap-3", "snap-4"):
        one.resource("snapshot", name, ours=name != "snap-3")
    one.resources[1].gone = True
    assert [left.id for left in one.left] == ["snap-4", "snap-1"]


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "imagekit.receipt/2"},
        {"resources": 1},
        {"resources": [{"kind": "x"}]},
        {"rehearsed": "no"},
        {"id": 5},
    ],
)
def test_a_damaged_one_is_no_receipt(tmp_path: Path, change: dict[str, object]) -> None:
    ledger, one = Ledger(tmp_path), receipt()
    ledger.write(one)
    path = ledger.folder / f"{one.id}.json"
    path.write_text(json.dumps({**one.to_json(), **change}))
    assert ledger.find(one.id) is None
    assert list(ledger) == []
    path.write_bytes(b"\xff{")
    assert ledger.find(one.id) is None


def test_named_by_start_and_by_result(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for name, result in (("aaaa000000000000", "ami-1"), ("aabb000000000000", "ami-2")):
        one = receipt(name)
        one.result, one.state = result, PUBLISHED
        ledger.write(one)
    assert ledger.named("aaa").result == "ami-1"
    assert ledger.named("ami-2").id.startswith("aabb")
    for start, words in (("aa", "several"), ("c", "no receipt"), ("", "several")):
        with pytest.raises(UsageError, match=words):
            ledger.named(start)


def test_the_oldest_first(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for name, begun in (("a" * 16, "2026-02"), ("b" * 16, "2026-01"), ("c" * 16, "2026-03")):
        ledger.write(receipt(name, begun))
    assert [one.id[0] for one in ledger] == ["b", "a", "c"]


def test_one_process_at_a_time_has_an_entry(tmp_path: Path) -> None:
    ledger, seen = Ledger(tmp_path), []

    def enter() -> None:
        for _ in range(20):
            with ledger.entry(receipt()) as one:
                count = int(str(one.details.get("count", 0)))
                one.details["count"] = count + 1
                ledger.write(one)

    threads = [Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = ledger.find(receipt().id)
    assert found is not None
    seen.append(found.details["count"])
    assert seen == [80]


def test_ids_are_of_all_parts() -> None:
    assert receipt_id("a", "bc") != receipt_id("ab", "c")
    assert len(receipt_id("a")) == 16
