import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import VerificationError
from imagekit.provenance import strict
from imagekit.provenance.statement import Statement, file_uri, listed, parse, resource

DIGEST = "a" * 64
GOOD = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "x", "digest": {"sha256": DIGEST}}],
    "predicateType": "urn:x:y",
    "predicate": {"z": 1},
}


@given(st.dictionaries(st.text(min_size=1), st.binary(min_size=32, max_size=32), min_size=1), st.text(min_size=1))
def test_there_and_back(subjects: dict[str, bytes], kind: str) -> None:
    made = Statement(kind, tuple((name, digest.hex()) for name, digest in subjects.items()), {"a": [1, None, "b"]})
    assert parse(made.to_bytes(), "it") == made


@pytest.mark.parametrize(
    "change",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"subject": []},
        {"subject": {}},
        {"subject": [7]},
        {"subject": [{"digest": {"sha256": DIGEST}}]},
        {"subject": [{"name": "x"}]},
        {"subject": [{"name": "x", "digest": {"sha256": DIGEST.upper()}}]},
        {"subject": [{"name": "x", "digest": {"sha256": DIGEST + "\n"}}]},
        {"subject": GOOD["subject"] * 2},  # type: ignore[operator]
        {"predicate": None},
        {"predicateType": 7},
    ],
)
def test_what_is_no_statement(change: dict[str, object]) -> None:
    parse(json.dumps(GOOD).encode(), "it")
    with pytest.raises(VerificationError):
        parse(json.dumps({**GOOD, **change}).encode(), "it")


@given(st.recursive(st.none() | st.integers(), lambda one: st.lists(one) | st.dictionaries(st.just("a"), one)))
def test_a_list_or_an_error(content: object) -> None:
    try:
        found = listed({"a": content}, "a", "a", where="it")
    except VerificationError:
        return
    assert all(isinstance(one, dict) for one in found)


def test_names_as_uris() -> None:
    assert file_uri("../a b/ü%\udcff#?") == "file:../a%20b/%C3%BC%25%FF%23%3F"
    assert resource("x") == {"name": "x"}


def test_files_that_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="cannot be read") as caught:
        strict.read(tmp_path / "none")
    assert caught.value.hint == "`imagekit build --provenance` writes it"
    with (tmp_path / "large").open("wb") as file:
        file.truncate(strict.LARGEST + 1)
    with pytest.raises(VerificationError, match="too large"):
        strict.read(tmp_path / "large")
