"""Sidecars: what is in them, and what is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.artifact import Artifact, Sidecar, sidecar_path
from imagekit.errors import VerificationError
from imagekit.sparse import BLOCK, BlockMap

BLOCKS = BlockMap(2 * BLOCK, ((1, bytes(range(32))),))
SIDECAR = Sidecar(
    image="app",
    target="ebs",
    architecture="x86_64",
    kernel={"kind": "pv"},
    layout={"disk": "plain"},
    boot={"guest": "pv"},
    digest=BLOCKS.digest,
    length=BLOCKS.length,
    companions={".cfg": "0" * 64},
    blocks=BLOCKS,
)


def written(tmp_path: Path, data: bytes) -> Path:
    main = tmp_path / "app.ebs"
    sidecar_path(main).write_bytes(data)
    return main


def test_written_and_read_back(tmp_path: Path) -> None:
    data = SIDECAR.to_bytes()
    assert Sidecar.read(written(tmp_path, data)) == SIDECAR
    content = json.loads(data)
    assert list(content) == sorted(content)
    assert content["schema"] == "imagekit/artifact/1"
    assert (content["block_size"], content["blocks"]) == (BLOCK, [[1, bytes(range(32)).hex()]])
    assert data.endswith(b"}\n")


def test_without_blocks(tmp_path: Path) -> None:
    sidecar = Sidecar(**{**{name: getattr(SIDECAR, name) for name in SIDECAR.__slots__}, "blocks": None})
    data = sidecar.to_bytes()
    assert {"blocks", "block_size"}.isdisjoint(json.loads(data))
    assert Sidecar.read(written(tmp_path, data)) == sidecar


def test_none_there(tmp_path: Path) -> None:
    assert Sidecar.read(tmp_path / "app.ebs") is None


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "imagekit/artifact/2"},
        {"image": 1},
        {"length": "1"},
        {"length": True},
        {"length": -1},
        {"length": 2 * BLOCK + 1},
        {"digest": None},
        {"digest": "0" * 64},
        {"companions": []},
        {"companions": {".cfg": 1}},
        {"kernel": "pv"},
        {"blocks": {}},
        {"blocks": [1]},
        {"blocks": [[1]]},
        {"blocks": [["1", "00" * 32]]},
        {"blocks": [[1, "xx" * 32]]},
        {"blocks": [[1, 5]]},
        {"blocks": [[2, "00" * 32]]},
        {"blocks": [[1 << 70, "00" * 32]]},
        {"blocks": [[-1, "00" * 32]]},
    ],
    ids=str,
)
def test_damaged_sidecars(tmp_path: Path, change: dict[str, object]) -> None:
    content = json.loads(SIDECAR.to_bytes()) | change
    with pytest.raises(VerificationError, match="no sidecar of this version") as caught:
        Sidecar.read(written(tmp_path, json.dumps(content).encode()))
    assert caught.value.exit_code == 6
    assert "build the image again" in caught.value.hint


@pytest.mark.parametrize("missing", sorted(set(json.loads(SIDECAR.to_bytes())) - {"blocks", "block_size"}))
def test_a_key_that_is_missing(tmp_path: Path, missing: str) -> None:
    content = json.loads(SIDECAR.to_bytes())
    del content[missing]
    with pytest.raises(VerificationError, match="no sidecar"):
        Sidecar.read(written(tmp_path, json.dumps(content).encode()))


@given(
    st.one_of(
        st.binary(max_size=60),
        st.integers(0, len(SIDECAR.to_bytes()) - 2).map(lambda cut: SIDECAR.to_bytes()[:cut]),
    )
)
def test_hostile_sidecars(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(VerificationError):
        Sidecar.read(written(tmp_path, data))


@pytest.mark.parametrize(
    "data", [b"[]", b"1", b"null", b"[" * 100_000, b"1" * 5000, b"\xff\xfe", b'{"schema": NaN}']
)
def test_json_that_is_no_sidecar(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(VerificationError, match="no sidecar"):
        Sidecar.read(written(tmp_path, data))


def test_a_sidecar_without_end(tmp_path: Path) -> None:
    main = written(tmp_path, b"")
    with sidecar_path(main).open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(VerificationError, match="too large"):
        Sidecar.read(main)


def test_a_sidecar_that_is_a_folder(tmp_path: Path) -> None:
    sidecar_path(tmp_path / "app.ebs").mkdir()
    with pytest.raises(VerificationError, match="cannot be read"):
        Sidecar.read(tmp_path / "app.ebs")


def test_an_artifact_as_json() -> None:
    artifact = Artifact(
        "app", "xen", Path("app.raw"), (Path("app.raw.cfg"),), "0" * 64, 2, 1, 0.12345, cached=True
    )
    content = json.loads(json.dumps(artifact.to_json()))
    assert content == {
        "image": "app",
        "target": "xen",
        "path": "app.raw",
        "companions": ["app.raw.cfg"],
        "digest": "0" * 64,
        "size": 2,
        "on_disk": 1,
        "seconds": 0.123,
        "cached": True,
    }
