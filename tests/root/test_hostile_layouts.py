"""Damaged and hostile OCI image layouts: a refusal or a tree, and nothing else."""

import gzip
import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import ImagekitError, RecipeError
from tests.root.conftest import Compose, contents, entry, members, tar_bytes

OCI = "application/vnd.oci.image"
BELOW = tar_bytes((entry("etc/a"), b"a"), (entry("etc/b"), b"b"), entry("opt", tarfile.DIRTYPE))
ABOVE = tar_bytes((entry("etc/.wh.a"), b""), (entry("opt/c"), b"c"))


class Layout:
    """An OCI image layout that is written blob by blob."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = folder / "blobs" / "sha256"
        self.blobs.mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data: bytes, kind: str) -> dict[str, Any]:
        """Write a blob and return its descriptor."""
        name = hashlib.sha256(data).hexdigest()
        (self.blobs / name).write_bytes(data)
        return {"mediaType": f"{OCI}.{kind}", "digest": f"sha256:{name}", "size": len(data)}

    def document(self, what: object, kind: str) -> dict[str, Any]:
        return self.blob(json.dumps(what).encode(), kind)

    def image(self, *layers: dict[str, Any], **platform: str) -> dict[str, Any]:
        manifest = {"schemaVersion": 2, "config": self.blob(b"{}", "config.v1+json"), "layers": list(layers)}
        return {**self.document(manifest, "manifest.v1+json"), **({"platform": platform} if platform else {})}

    def index(self, *manifests: dict[str, Any]) -> Path:
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": list(manifests)}))
        return self.folder


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "oci")


def test_every_packing(layout: Layout, compose: Compose) -> None:
    plain = layout.blob(tar_bytes((entry("plain"), b"1")), "layer.v1.tar")
    packed = layout.blob(gzip.compress(tar_bytes((entry("gz"), b"2"))), "layer.v1.tar+gzip")
    zst = layout.blob(zstandard.compress(tar_bytes((entry("zst"), b"3"))), "layer.v1.tar+zstd")
    found = contents(compose(layout.index(layout.image(plain, packed, zst))))
    assert found == {"plain": b"1", "gz": b"2", "zst": b"3"}


def test_two_platforms(layout: Layout, compose: Compose) -> None:
    other = layout.image(
        layout.blob(tar_bytes((entry("a"), b"arm")), "layer.v1.tar"), os="linux", architecture="arm"
    )
    ours = layout.image(
        layout.blob(tar_bytes((entry("a"), b"x")), "layer.v1.tar"), os="linux", architecture="amd64"
    )
    assert contents(compose(layout.index(other, ours))) == {"a": b"x"}
    with pytest.raises(RecipeError, match="no image for linux/amd64") as caught:
        compose(layout.index(other))
    assert caught.value.details == "there: linux/arm"


def test_indexes_in_indexes(layout: Layout, compose: Compose) -> None:
    image = layout.image(layout.blob(BELOW, "layer.v1.tar"), os="linux", architecture="amd64")
    for depth in range(6):
        if depth < 4:
            assert "etc/a" in contents(compose(layout.index(image)))
        else:
            with pytest.raises(RecipeError, match="no OCI image layout"):
                compose(layout.index(image))
        inner = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": [image]}
        platform = {"platform": {"os": "linux", "architecture": "amd64"}}
        image = {**layout.document(inner, "index.v1+json"), **platform}


@pytest.mark.parametrize("kind", ["layer.v1.tar+lzma", "layer.nondistributable.v1.tar", "", "layer.v1.tar "])
def test_layers_of_another_kind(kind: str, layout: Layout, compose: Compose) -> None:
    with pytest.raises(RecipeError, match="of a kind that is not read"):
        compose(layout.index(layout.image(layout.blob(BELOW, kind))))


def test_a_huge_manifest(layout: Layout, compose: Compose) -> None:
    data = b'{"layers": [' + b" " * (5 << 20) + b"]}"
    with pytest.raises(RecipeError, match="no OCI image layout") as caught:
        compose(layout.index(layout.blob(data, "manifest.v1+json")))
    assert "larger than" in caught.value.details


def test_a_blob_that_is_not_there(layout: Layout, compose: Compose) -> None:
    layer = layout.blob(BELOW, "layer.v1.tar")
    folder = layout.index(layout.image(layer))
    (layout.blobs / layer["digest"].removeprefix("sha256:")).unlink()
    with pytest.raises(RecipeError, match="not whole"):
        compose(folder)


@pytest.mark.parametrize("name", ["../.wh.x", "etc/../../.wh.x", "/../.wh..wh..opq"])
def test_whiteouts_that_leave_the_tree(name: str, layout: Layout, compose: Compose) -> None:
    above = layout.blob(tar_bytes((entry(name), b"")), "layer.v1.tar")
    with pytest.raises(RecipeError, match="leads out of the image"):
        compose(layout.index(layout.image(layout.blob(BELOW, "layer.v1.tar"), above)))


@pytest.mark.parametrize("name", ["etc/.wh.", "etc/.wh..", "etc/.wh...", ".wh."])
def test_whiteouts_of_no_name(name: str, layout: Layout, compose: Compose) -> None:
    above = layout.blob(tar_bytes((entry(name), b"")), "layer.v1.tar")
    with pytest.raises(RecipeError, match="what is no name"):
        compose(layout.index(layout.image(layout.blob(BELOW, "layer.v1.tar"), above)))


def test_a_whiteout_of_nothing_is_none(layout: Layout, compose: Compose) -> None:
    above = layout.blob(tar_bytes((entry("etc/.wh.none"), b""), (entry("etc/.wh.b"), b"")), "layer.v1.tar")
    root = compose(layout.index(layout.image(layout.blob(BELOW, "layer.v1.tar"), above)))
    assert set(members(root)) == {"etc", "etc/a", "opt"}


SIZES = {"index": 200, "manifest": 500, "below": len(BELOW) - 8000, "above": len(ABOVE) - 8000}


@settings(max_examples=120)
@given(
    part=st.sampled_from(list(SIZES)),
    place=st.integers(0, 1 << 16),
    new=st.binary(min_size=1, max_size=8),
    cut=st.booleans(),
    told=st.booleans(),
)
def test_any_damage(
    part: str,
    place: int,
    new: bytes,
    cut: bool,
    told: bool,
    tmp_path_factory: pytest.TempPathFactory,
    compose: Compose,
) -> None:
    """With `told` the digests are those of what is damaged, so that the damage gets past them."""
    folder = tmp_path_factory.mktemp("oci")

    def hurt(name: str, data: bytes) -> bytes:
        if name != part:
            return data
        at = place % SIZES[name] % len(data)
        return data[:at] if cut else data[:at] + new + data[at + len(new) :]

    layout = Layout(folder / "oci")
    try:
        layers = [
            _blob(layout, name, data, hurt, told=told) for name, data in (("below", BELOW), ("above", ABOVE))
        ]
        manifest = {"schemaVersion": 2, "config": layout.blob(b"{}", "config.v1+json"), "layers": layers}
        image = _blob(layout, "manifest", json.dumps(manifest).encode(), hurt, told=told, kind="manifest.v1+json")
        layout.index(image)
        index = folder / "oci" / "index.json"
        index.write_bytes(hurt("index", index.read_bytes()))
        root = compose(folder / "oci")
    except ImagekitError as error:
        assert isinstance(error, RecipeError), error  # noqa: PT017
    else:
        assert contents(root) is not None
        shutil.rmtree(root.parent)
    shutil.rmtree(folder)


def _blob(
    layout: Layout,
    name: str,
    data: bytes,
    hurt: Callable[[str, bytes], bytes],
    *,
    told: bool,
    kind: str = "layer.v1.tar",
) -> dict[str, Any]:
    damaged = hurt(name, data)
    if told:
        return layout.blob(damaged, kind)
    found = layout.blob(data, kind)
    (layout.blobs / found["digest"].removeprefix("sha256:")).write_bytes(damaged)
    return found
