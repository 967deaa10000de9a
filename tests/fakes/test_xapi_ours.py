"""What imagekit writes, as this server takes it: two readings of the formats that know nothing of each other."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.formats import vhd
from imagekit.formats.xva import Packing, archive
from tests.fakes.conftest import MIB, Client
from tests.fakes.test_xapi_xva import put
from tests.fakes.xapi.settings import XCP_NG_8_2, XCP_NG_8_3, XENSERVER_6_5, Product, Storage
from tests.formats.xva.conftest import APPLIANCE, Image, image_of

Open = Callable[..., Client]
RUNS = ((0, 4096), (3 * MIB + 77, 2 * MIB), (15 * MIB, 1))


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return image_of(tmp_path / "app.raw", 20 * MIB + 1536, RUNS)


@pytest.mark.parametrize(
    "size, runs", [(512, ((0, 512),)), (4096, ()), (20 * MIB + 1536, RUNS), (256 * MIB, ((200 * MIB, 100),))]
)
def test_our_vhd(client: Open, tmp_path: Path, size: int, runs: tuple[tuple[int, int], ...]) -> None:
    one = client()
    image = image_of(tmp_path / "app.raw", size, runs)
    layout = vhd.layout(image.blocks, 946684800)
    data = b"".join(layout.pieces(image.read_at))
    vdi = one.vdi(vhd.disk_size(size))
    ended = one.put(vdi, data, "vhd")
    assert ended["status"] == "success", ended
    with open(one.pool.disk(vdi), "rb") as disk, image.path.open("rb") as raw:
        while block := raw.read(4 * MIB):
            assert disk.read(len(block)) == block
    assert one.pool.complaints == []


@pytest.mark.parametrize(
    "product, packing",
    [(XENSERVER_6_5, None), (XENSERVER_6_5, "gzip"), (XCP_NG_8_2, "zstd"), (XCP_NG_8_3, None)],
    ids=["6.5", "6.5-gzip", "8.2-zstd", "8.3"],
)
def test_our_xva(client: Open, image: Image, product: Product, packing: Packing | None) -> None:
    one = client(product=product, storage=(Storage("Local storage", type="lvm"),))
    # Before 2023 no host has heard of PVH; before domain types, no host looks.
    made = archive(replace(APPLIANCE, kind="pv") if product is XCP_NG_8_2 else APPLIANCE, image.blocks)
    data = b"".join(made.packed(image.read_at, packing) if packing else made.pieces(image.read_at))
    ended = put(one, data)
    assert ended["status"] == "success", ended["error_info"]
    [vm], [vdi] = one.pool.vms(), one.pool.vdis()
    assert vm["name_label"] == APPLIANCE.name
    size = image.path.stat().st_size
    assert one.pool.disk(vdi["ref"]).read_bytes()[:size] == image.path.read_bytes()
    assert len(one.pool.vifs()) == len(APPLIANCE.interfaces)
