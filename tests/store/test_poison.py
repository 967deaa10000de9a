"""What somebody without a trusted key puts into a shared store never becomes a result."""

import hashlib
import io
import json
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from imagekit.sparse import BLOCK, BlockMap, map_blocks
from imagekit.store.packed import MAGIC, DamageError, pack, unpack
from imagekit.store.trust import Claim, Trust
from tests.store.farm import Farm, reader, writer
from tests.store.making import KEY, OTHER, make

EVIL = b"evil" * 4000
CONTENT = bytes(range(256)) * 4096 + b"end"


def packed(folder: Path, content: bytes) -> tuple[bytes, BlockMap]:
    blob = folder / "blob"
    blob.write_bytes(content)
    blocks = map_blocks(blob)
    with (folder / "packed").open("wb") as out:
        pack(blob, blocks, out)
    return (folder / "packed").read_bytes(), blocks


def record(claim: Claim, trust: Trust, **more: object) -> bytes:
    said = {"key": claim.key, "step": claim.step, "digest": claim.digest, "length": claim.length}
    return json.dumps({**said, "signature": trust.sign(claim), **more}).encode()


def test_a_record_that_nobody_who_is_trusted_signed(farm: Farm, tmp_path: Path) -> None:
    data, blocks = packed(tmp_path, EVIL)
    farm.write(f"blobs/{blocks.digest[:2]}/{blocks.digest}", data)
    claim = Claim(KEY, "step", blocks.digest, blocks.length)
    good = writer().sign(claim)
    records = {
        "another's": record(claim, writer(2)),
        "unsigned": record(claim, Trust()),
        "no signature": json.dumps({"key": KEY, "step": "step", "digest": blocks.digest, "length": 1}).encode(),
        "another key": record(Claim(OTHER, "step", blocks.digest, blocks.length), writer()),
        "renamed": record(Claim(OTHER, "step", blocks.digest, blocks.length), writer(), key=KEY),
        "another step": record(Claim(KEY, "other", blocks.digest, blocks.length), writer(), step="step"),
        "another digest": record(Claim(KEY, "step", "c" * 64, blocks.length), writer(), digest=blocks.digest),
        "another length": record(claim, writer(), length=blocks.length + 1),
        "a path": record(claim, writer(), digest="../" * 20 + "etc/passwd"),
        "cut off": record(claim, writer())[:-20],
        "bad hex": record(claim, writer(), signature="zz" + good[2:]),
        "long": b" " * 5000 + record(claim, writer()),
        "deep": b"[" * 4000,
        "types": record(claim, writer(), length=True, signature=7),
        "nothing": b"",
    }
    for number, (what, forged) in enumerate(records.items()):
        farm.said.clear()
        farm.write(f"results/aa/{KEY}", forged)
        stored, cached = make(farm.cache(f"cache-{number}", reader()))
        assert (stored.path.read_bytes(), cached) == (b"content", False), what
        assert len(farm.said) == 1, what
        assert "signed" in farm.said[0], what
    farm.said.clear()
    make(farm.cache("writer"))
    assert make(farm.cache("after", reader()))[1] is True, "who makes it anew writes over it"


def test_an_honest_record_of_another_step_is_not_taken(farm: Farm) -> None:
    one = farm.cache("one")
    stored, _ = make(one, OTHER, EVIL)
    farm.write(f"results/aa/{KEY}", record(Claim(KEY, "other step", stored.digest, len(EVIL)), writer()))
    assert make(farm.cache("two", reader()))[0].path.read_bytes() == b"content"


@pytest.mark.parametrize("how", ["swapped", "cut off", "longer", "flipped", "emptied", "gone"])
def test_a_blob_that_is_not_what_was_signed(farm: Farm, tmp_path: Path, how: str) -> None:
    make(farm.cache("one"), content=CONTENT)
    (name,) = farm.names("blobs")
    data = farm.read(name)
    changes = {
        "swapped": packed(tmp_path, EVIL)[0],
        "cut off": data[:-1],
        "longer": data + b"\0",
        "flipped": data[:-9] + bytes([data[-9] ^ 4]) + data[-8:],
        "emptied": b"",
    }
    if how == "gone":
        farm.backend.remove([name])
    else:
        farm.write(name, changes[how])
    two = farm.cache("two")
    stored, cached = make(two, content=CONTENT)
    assert (stored.path.read_bytes(), cached) == (CONTENT, False)
    assert [line.count("damaged") for line in farm.said] == ([] if how == "gone" else [1])
    assert not list((two.root / "tmp").iterdir())
    assert make(farm.cache("three"), content=CONTENT)[1] is True, "and the store is whole again"


def hostile(blocks: BlockMap, frames: list[bytes]) -> bytes:
    told = blocks.to_bytes()
    parts = [MAGIC, len(told).to_bytes(8, "big"), told]
    return b"".join([*parts, *(len(frame).to_bytes(4, "big") + frame for frame in frames)])


def test_bombs_and_wild_lengths(tmp_path: Path) -> None:
    compressor = zstandard.ZstdCompressor()
    block = bytes(BLOCK - 1) + b"x"
    (tmp_path / "blob").write_bytes(block)
    blocks = map_blocks(tmp_path / "blob")
    good = compressor.compress(block)
    bomb = compressor.compress(bytes(1 << 28))
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(block)
    cases = [
        hostile(blocks, [bomb]),
        hostile(blocks, [unsized]),
        hostile(blocks, [b"no frame"]),
        hostile(blocks, [b""]),
        hostile(blocks, [good + good]),
        hostile(blocks, []),
        hostile(blocks, [good])[:-1],
        hostile(blocks, [])[: len(MAGIC)] + b"\xff" * 8,
        hostile(blocks, []) + b"\xff\xff\xff\xff",
        hostile(BlockMap(1 << 62, ()), []),
        b"",
    ]
    for number, case in enumerate(cases):
        with pytest.raises(DamageError):
            unpack(io.BytesIO(case), blocks.digest, BLOCK, tmp_path / f"out-{number}")
    unpack(io.BytesIO(hostile(blocks, [good])), blocks.digest, BLOCK, tmp_path / "good")
    assert (tmp_path / "good").read_bytes() == block


def test_a_map_that_no_file_has_is_refused_even_under_its_digest(tmp_path: Path) -> None:
    """Nobody signs such a digest; who asks by digest alone is told all the same."""
    for length, records in ((1 << 63, b""), (10, b"\0" * 80), (10, (7).to_bytes(8, "big") + b"\0" * 32)):
        told = length.to_bytes(8, "big") + records
        digest = hashlib.sha256(told).hexdigest()
        data = MAGIC + len(told).to_bytes(8, "big") + told
        with pytest.raises(DamageError):
            unpack(io.BytesIO(data), digest, None, tmp_path / "out")


@given(data=st.data())
def test_whatever_is_changed_the_bytes_are_right_or_none(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("mutated")
    content = b"a" * 700 + bytes(BLOCK) + b"tail"
    whole, blocks = packed(folder, content)
    at = data.draw(st.integers(0, len(whole) - 1))
    piece = data.draw(st.binary(max_size=5))
    changed = whole[:at] + piece + whole[data.draw(st.integers(at, min(len(whole), at + 6))) :]
    try:
        unpack(
            io.BytesIO(changed), blocks.digest, data.draw(st.sampled_from([None, len(content)])), folder / "out"
        )
    except DamageError:
        return
    assert (folder / "out").read_bytes() == content
