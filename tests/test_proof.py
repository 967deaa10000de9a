"""Records of proofs: kept, found again, the newest of them, and damaged ones as if they were not there."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit import proof
from imagekit.proof import Proof

GOOD = Proof(
    image="app",
    target="ebs",
    disk="d" * 64,
    kernel="k" * 64,
    way="pv-grub",
    loader="GRUB 2.06",
    lab="a" * 64,
    parts={"xen": "b" * 64},
    versions={"libc6": "2.36"},
    booted=True,
    verdict="booted",
    why="it said 'hello'",
    expected={"text": "hello", "off": False, "body": "", "url": ""},
    seconds={"lab": 0.5},
    memory=300 << 20,
    started="2026-11-23T12:00:00Z",
    console="hello\n",
    said="Parsing config\n",
    warnings=("one", "two"),
)


def found(state: Path) -> Proof | None:
    return proof.find(GOOD.disk, GOOD.way, state)


def test_kept_and_found(tmp_path: Path) -> None:
    path = proof.keep(GOOD, tmp_path / "state")
    assert path == tmp_path / "state" / "proofs" / f"{GOOD.key}.json"
    assert found(tmp_path / "state") == GOOD
    assert json.loads(path.read_bytes())["schema"] == "imagekit.proof/1"


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    path = proof.keep(GOOD, tmp_path)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_it_holds_nothing_of_where_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-tell")
    text = proof.keep(GOOD, tmp_path).read_text()
    for secret in ("do-not-tell", str(tmp_path), os.uname().nodename, os.environ["HOME"] + "/"):
        assert secret not in text
    assert set(json.loads(text)) == {"schema", *Proof.__dataclass_fields__}


@pytest.mark.parametrize("other", [{"disk": "e" * 64}, {"way": "pygrub"}, {"booted": False}])
def test_another_disk_or_way_or_a_failure_is_none(other: dict[str, object], tmp_path: Path) -> None:
    proof.keep(replace(GOOD, **other), tmp_path)  # type: ignore[arg-type]
    assert found(tmp_path) is None


def test_a_later_proof_of_the_same_replaces_it(tmp_path: Path) -> None:
    proof.keep(GOOD, tmp_path)
    proof.keep(replace(GOOD, booted=False, verdict="crashed"), tmp_path)
    assert found(tmp_path) is None
    assert len(list((tmp_path / "proofs").iterdir())) == 1


def test_the_newest_of_several_labs(tmp_path: Path) -> None:
    for year, lab in (("2025", "1"), ("2027", "2"), ("2026", "3")):
        proof.keep(replace(GOOD, lab=lab * 64, started=f"{year}-01-01T00:00:00Z"), tmp_path)
    newest = found(tmp_path)
    assert newest is not None
    assert newest.lab == "2" * 64


def test_no_state_no_proof(tmp_path: Path) -> None:
    assert found(tmp_path / "none") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"imagekit.proof/1"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schema": "imagekit.proof/1"}',
        b'{"schema": "imagekit.proof/2"}',
    ],
)
def test_a_damaged_record_is_none(content: bytes, tmp_path: Path) -> None:
    path = proof.keep(GOOD, tmp_path)
    path.write_bytes(content)
    assert found(tmp_path) is None
    better = proof.keep(replace(GOOD, lab="c" * 64), tmp_path)
    assert found(tmp_path) == replace(GOOD, lab="c" * 64)
    assert better != path


@pytest.mark.parametrize("name", sorted(Proof.__dataclass_fields__))
def test_a_value_of_another_kind_or_none_is_damage(name: str, tmp_path: Path) -> None:
    path = proof.keep(GOOD, tmp_path)
    whole = json.loads(path.read_bytes())
    for wrong in (None, [[]] if name != "warnings" else "text", 5.5):
        path.write_text(json.dumps({**whole, name: wrong}))
        assert found(tmp_path) is None
    whole.pop(name)
    path.write_text(json.dumps(whole))
    # Records that are older than HVM guests do not name the kind of guest.
    assert found(tmp_path) == (replace(GOOD, guest="") if name == "guest" else None)


def test_a_record_under_the_name_of_another_is_none(tmp_path: Path) -> None:
    path = proof.keep(replace(GOOD, disk="e" * 64), tmp_path)
    path.write_text(json.dumps(GOOD.to_json()))
    assert found(tmp_path) is None


def test_a_folder_and_a_dead_link_in_the_way(tmp_path: Path) -> None:
    proof.keep(GOOD, tmp_path)
    (tmp_path / "proofs" / "folder.json").mkdir()
    (tmp_path / "proofs" / "dead.json").symlink_to("nowhere")
    assert found(tmp_path) == GOOD


@given(st.text(max_size=50), st.text(max_size=50), st.dictionaries(st.text(max_size=9), st.floats(0, 9)))
def test_any_words_come_back(console: str, why: str, seconds: dict[str, float]) -> None:
    told = replace(GOOD, console=console, why=why, seconds=seconds)
    assert Proof.from_json(json.loads(json.dumps(told.to_json()))) == told


@given(st.binary(max_size=200))
def test_any_bytes_are_no_proof(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    state = tmp_path_factory.mktemp("state")
    proof.keep(GOOD, state).write_bytes(content)
    assert found(state) is None


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from imagekit import proof
from tests.test_proof import GOOD
print("go", flush=True)
while True:
    for letter in "xy":
        proof.keep(replace(GOOD, console=letter * 100_000), Path(sys.argv[1]))
"""


def test_whoever_reads_meanwhile_finds_a_whole_one_even_after_a_kill(tmp_path: Path) -> None:
    proof.keep(replace(GOOD, console="x" * 100_000), tmp_path)
    argv = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(argv, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "go\n"
        for _ in range(100):
            seen = found(tmp_path)
            assert seen is not None
            assert seen.console in {"x" * 100_000, "y" * 100_000}
        writer.send_signal(signal.SIGKILL)
    assert found(tmp_path) is not None
    assert [path.name for path in (tmp_path / "proofs").glob("*.json")] == [f"{GOOD.key}.json"]


def test_what_cannot_be_written_leaves_the_old_record(tmp_path: Path) -> None:
    path = proof.keep(GOOD, tmp_path)
    with pytest.raises(TypeError):
        proof.keep(replace(GOOD, console=object()), tmp_path)  # type: ignore[arg-type]
    assert found(tmp_path) == GOOD
    assert list(path.parent.iterdir()) == [path]
