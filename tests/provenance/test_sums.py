import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.errors import VerificationError
from imagekit.provenance import sums

NAMES = ["plain", "two words", "*star", "back\\slash", "a\nline", "a\rturn", "\\n", "ünï", os.fsdecode(b"\xff")]


def test_as_sha256sum_writes_and_checks_it(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).write_bytes(os.fsencode(name))
    ours = sums.to_bytes((name, sums.sha256(tmp_path / name)) for name in NAMES)
    assert ours == run("sha256sum", "--", *NAMES, cwd=tmp_path).stdout
    (tmp_path / "SUMS").write_bytes(ours)
    run("sha256sum", "--check", "--strict", "SUMS", cwd=tmp_path)
    assert sums.check(tmp_path / "SUMS", "plain") == len(NAMES)


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="/\0"), min_size=1), st.binary(min_size=32, max_size=32)
        )
    )
)
def test_there_and_back(pairs: list[tuple[str, bytes]]) -> None:
    files = [(os.fsdecode(name.encode(errors="replace")), digest.hex()) for name, digest in pairs]
    assert list(sums.parse(sums.to_bytes(files), "it")) == files


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    try:
        found = list(sums.parse(data, "it"))
    except VerificationError:
        return
    assert found == list(sums.parse(sums.to_bytes(found), "it"))


def test_lies(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    good = sums.sha256(tmp_path / "a")
    for text, told in (
        (f"{'0' * 64}  a\n", "is not what"),
        (f"{good}  a\n{good}  b\n", "tells of"),
        (f"{good}  ../a\n", "another folder"),
        (f"{good}  .\n", "another folder"),
        ("", "says nothing of a"),
        ("nonsense\n", "line 1"),
    ):
        (tmp_path / "SUMS").write_text(text)
        with pytest.raises(VerificationError, match=told):
            sums.check(tmp_path / "SUMS", "a")


def test_a_directory_as_in_totos_recipe_for_a_shell_has_it(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name in ("b/c/one", "b-two", "b/three", "ü"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("b")
    # in-toto/attestation, spec/v1/digest_set.md, dirHash.
    script = "find . -type f | cut -c3- | LC_ALL=C sort | xargs -r sha256sum | sha256sum | cut -f1 -d' '"
    assert sums.directory_hash(tmp_path) == run("sh", "-c", script, cwd=tmp_path).text().strip()
