"""Writing: what tar, xva-img and Python's XML-RPC read in it, and that nothing but the content makes the bytes."""

import gzip
import os
import tarfile
import xmlrpc.client
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.errors import RecipeError, TryAgainError
from imagekit.formats import xapi
from imagekit.formats.xapi import Appliance, Interface, Value
from imagekit.formats.xva import Packing, archive
from imagekit.formats.xva import xmlrpc as its
from imagekit.sparse import BlockMap, map_blocks

from .conftest import APPLIANCE, MIB, Image, image_of

GOLDEN = Path(__file__).parent / "golden"


def parsed(header: bytes) -> Any:  # noqa: ANN401 -- whatever it is
    """Return ova.xml as Python's own XML-RPC reads it."""
    text = f"<params><param>{header.decode()}</param></params>"
    (value,), _ = xmlrpc.client.loads(text)
    return value


def objects(header: bytes, kind: str) -> dict[str, Any]:
    return {one["id"]: one["snapshot"] for one in parsed(header)["objects"] if one["class"] == kind}


def test_length_is_known_beforehand(image: Image, whole: bytes) -> None:
    assert archive(APPLIANCE, image.blocks).length == len(whole)


def test_golden(image: Image) -> None:
    header = archive(APPLIANCE, image.blocks).header
    golden = GOLDEN / "ova.xml"
    if os.environ.get("IMAGEKIT_GOLDEN") == "write":
        golden.write_bytes(header)
    assert header == golden.read_bytes()


def test_members_are_those_of_an_export(whole: bytes) -> None:
    with tarfile.open(fileobj=BytesIO(whole)) as members:
        found = members.getmembers()
    chunks = [f"Ref:2/{number:08}" for number in (0, 3, 4, 5, 15, 20)]
    assert [one.name for one in found] == [
        "ova.xml",
        *(f"{name}{end}" for name in chunks for end in ("", ".checksum")),
    ]
    assert {(one.mode, one.uid, one.gid, one.mtime, one.type) for one in found} == {(0o400, 0, 0, 0, b"0")}
    assert whole.endswith(bytes(1024))
    assert not whole.endswith(bytes(1024 + 512))


def test_tar_and_xva_img_take_it_apart(image: Image, whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "app.xva").write_bytes(whole)
    folder = tmp_path / "apart"
    folder.mkdir()
    run("tar", "-xf", tmp_path / "app.xva", "-C", folder)
    run("xva-img", "disk-export", folder / "Ref:2", tmp_path / "disk.raw")
    assert (tmp_path / "disk.raw").read_bytes() == image.path.read_bytes()


def test_another_file_with_the_same_content_gives_the_same_bytes(
    image: Image, whole: bytes, tmp_path: Path
) -> None:
    full = tmp_path / "full.raw"
    full.write_bytes(image.path.read_bytes())  # no hole in it
    other = Image(full, map_blocks(full))
    assert b"".join(archive(APPLIANCE, other.blocks).pieces(other.read_at)) == whole


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_packed(image: Image, whole: bytes, packing: Packing) -> None:
    made = archive(APPLIANCE, image.blocks)
    packed = b"".join(made.packed(image.read_at, packing))
    assert packed == b"".join(made.packed(image.read_at, packing))
    reader = (
        gzip.GzipFile(fileobj=BytesIO(packed))
        if packing == "gzip"
        else zstandard.ZstdDecompressor().stream_reader(packed)
    )
    assert reader.read() == whole
    if packing == "gzip":
        assert packed[3:10] == bytes(5) + b"\0\x03" or packed[3:9] == bytes(6)  # no name, no time


def test_machine(image: Image) -> None:
    header = archive(APPLIANCE, image.blocks).header
    ((reference, machine),) = objects(header, "VM").items()
    assert machine["name_label"] == APPLIANCE.name
    assert machine["name_description"] == "two\nlines"
    assert machine["PV_args"] == APPLIANCE.cmdline
    assert (machine["domain_type"], machine["PV_bootloader"], machine["HVM_boot_policy"]) == ("pvh", "pygrub", "")
    assert machine["platform"] == {"nx": "true", "pae": "true"}
    assert {
        machine[f"memory_{limit}"] for limit in ("static_min", "dynamic_min", "dynamic_max", "static_max")
    } == {str(64 * MIB)}
    assert machine["other_config"] == {"owner": "farm", xapi.DIGEST: image.blocks.digest}
    assert str(machine["snapshot_time"]) == "19700101T00:00:00Z"
    ((disk, vdi),) = objects(header, "VDI").items()
    ((vbd, attached),) = objects(header, "VBD").items()
    assert vdi["virtual_size"] == str(image.blocks.length)
    assert vdi["other_config"] == {xapi.DIGEST: image.blocks.digest}
    assert (attached["VM"], attached["VDI"], attached["bootable"]) == (reference, disk, True)
    assert machine["VBDs"] == vdi["VBDs"] == [vbd]
    assert list(objects(header, "SR")) == [vdi["SR"]]


def test_interfaces_of_one_network_share_it(image: Image) -> None:
    header = archive(APPLIANCE, image.blocks).header
    networks, vifs = objects(header, "network"), objects(header, "VIF")
    assert [(one["name_label"], one["bridge"], len(one["VIFs"])) for one in networks.values()] == [
        ("Größe", "", 2),
        ("xenbr1", "xenbr1", 1),
    ]
    assert [(one["device"], networks[one["network"]]["name_label"], one["MAC"]) for one in vifs.values()] == [
        ("0", "Größe", ""),
        ("1", "xenbr1", "00:16:3e:5a:00:01"),
        ("2", "Größe", ""),
    ]


def test_hvm_boots_by_its_bios(image: Image) -> None:
    header = archive(Appliance(name="m", memory=MIB, kind="hvm"), image.blocks).header
    (machine,) = objects(header, "VM").values()
    assert (machine["HVM_boot_policy"], machine["HVM_boot_params"]["order"]) == ("BIOS order", "c")
    assert machine["PV_bootloader"] == ""


def test_a_kernel_in_dom0(image: Image) -> None:
    appliance = Appliance(name="m", memory=MIB, bootloader="", kernel="/var/lib/xcp/guest/m.xen")
    (machine,) = objects(archive(appliance, image.blocks).header, "VM").values()
    assert (machine["PV_bootloader"], machine["PV_kernel"]) == ("", "/var/lib/xcp/guest/m.xen")


def test_uuids_tell_images_and_machines_apart() -> None:
    def uuids(appliance: Appliance, digest: bytes) -> set[str]:
        header = archive(appliance, BlockMap(MIB, ((0, digest),))).header
        return {one["snapshot"]["uuid"] for one in parsed(header)["objects"]}

    first, second = uuids(APPLIANCE, bytes(32)), uuids(APPLIANCE, b"1" * 32)
    assert not first & second
    assert not first & uuids(Appliance(name="other", memory=MIB), bytes(32))
    assert first == uuids(APPLIANCE, bytes(32))


def test_integers_on_the_wire_are_strings() -> None:
    fields = xapi.on_wire({"a": 1, "b": True, "c": [2, {"d": 3}], "e": 1.0, "f": xapi.NEVER, "g": "h"})
    assert fields == {"a": "1", "b": True, "c": ["2", {"d": "3"}], "e": 1.0, "f": xapi.NEVER, "g": "h"}


def test_an_image_that_shrinks_is_told(image: Image) -> None:
    made = archive(APPLIANCE, image.blocks)
    os.truncate(image.path, 4 * MIB)
    with pytest.raises(TryAgainError, match="became shorter"):
        list(made.pieces(image.read_at))


@pytest.mark.parametrize("size", [0, 513])
def test_a_disk_is_whole_sectors(tmp_path: Path, size: int) -> None:
    with pytest.raises(ValueError, match="sectors"):
        archive(APPLIANCE, image_of(tmp_path / "x", size, ()).blocks)


@pytest.mark.parametrize(
    "settings",
    [
        {"name": ""},
        {"name": "a\x00b"},
        {"name": "a\nb"},
        {"description": "a\x01"},
        {"memory": 0},
        {"vcpus": 0},
        {"kind": "xen"},
        {"bootloader": ""},
        {"kernel": "/k"},
        {"tags": ("a", "a")},
        {"other_config": {"k": "\ud800"}},
        {"platform": {"\x00": "v"}},
    ],
)
def test_fields_that_cannot_be_meant(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        Appliance(**{"name": "m", "memory": MIB, **settings})


@pytest.mark.parametrize(
    "settings", [{}, {"network": "\x00"}, {"network": "n", "mtu": 1}, {"network": "n", "mac": "x"}]
)
def test_interfaces_that_cannot_be_meant(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        Interface(**settings)


TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\ufffe\uffff"), max_size=20)
VALUES = st.recursive(
    TEXT | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_values_come_back(value: Value) -> None:
    assert its.load(its.dump(value).encode()) == value
    assert parsed(its.dump(value).encode()) == value
