"""Which kinds of VM a pool gets: PV, PVH, HVM, by what its hosts start; a strict xapi over TLS."""

import json
from pathlib import Path

import pytest

from imagekit.sparse import map_blocks
from tests.cli.conftest import Cli
from tests.fakes.conftest import Client, Pools
from tests.fakes.test_xapi_xva import put
from tests.fakes.xapi.settings import XCP_NG_8_2, XCP_NG_8_3, XENSERVER_6_5, Product
from tests.publish.xapi.conftest import Build, Opened
from tests.publish.xapi.test_publish import START, clean

BOOTS_BIOS = b"\x55\xaa"
AT_ONCE = (False, False)  # neither paused nor by force
PRODUCTS = pytest.mark.parametrize("product", [XENSERVER_6_5, XCP_NG_8_2, XCP_NG_8_3], ids=lambda one: one.version)


@pytest.fixture
def hvm(build: Build, kernels: Path) -> Build:
    """Return a function that builds a disk with a boot sector, as `build` does."""

    def built(*settings: str, name: str = "app.vhd") -> Path:
        return build("boot=hvm", *settings, name=name, kernel=kernels / "hello-pvh.xen")

    return built


@PRODUCTS
def test_hvm_everywhere(cli: Cli, opened: Opened, hvm: Build, product: Product) -> None:
    pool, options = opened(product=product)
    raw = hvm("xcp.format=raw", name="same.raw")
    said = cli("publish", hvm(), *options, *START)
    assert said.code == 0, said.err
    (vm,) = pool.vms()
    assert (f"{vm['uuid']}\n", vm["power_state"]) == (said.out, "Running")
    assert (vm["HVM_boot_policy"], vm["HVM_boot_params"]) == ("BIOS order", {"order": "c", "firmware": "bios"})
    assert vm.get("domain_type", "hvm") == "hvm"
    assert (vm["PV_bootloader"], vm["PV_kernel"], vm["PV_args"]) == ("", "", "")
    flags = {"acpi": "1", "apic": "true", "nx": "true", "pae": "true", "viridian": "false"}
    model = {} if product is XENSERVER_6_5 else {"device-model": "qemu-upstream-compat"}
    assert vm["platform"] == flags | model
    (vbd,) = pool.vbds()
    assert (vbd["userdevice"], vbd["bootable"], vbd["type"], vbd["mode"]) == ("0", True, "Disk", "RW")
    disk = pool.disk(pool.vdis()[0]["uuid"])
    assert map_blocks(disk) == map_blocks(raw)
    assert disk.read_bytes()[510:512] == BOOTS_BIOS
    clean(pool, VDI=1, VM=1, VBD=1)


def test_flags_of_the_recipe_go_over_ours(cli: Cli, opened: Opened, hvm: Build) -> None:
    pool, options = opened()
    assert cli("publish", hvm('xcp.platform={viridian="true", vga="std"}'), *options, *START).code == 0
    platform = pool.vms()[0]["platform"]
    assert (platform["viridian"], platform["vga"], platform["acpi"]) == ("true", "std", "1")


def test_twice_is_once_replaced_and_destroyed(cli: Cli, opened: Opened, hvm: Build) -> None:
    pool, options = opened(product=XCP_NG_8_3)
    first = cli("publish", hvm(), *options, *START)
    calls = len(pool.calls)
    again = cli("publish", "app.vhd", *options, *START)
    assert (again.code, again.out) == (0, first.out)
    assert not {"VDI.create", "import_raw_vdi", "VM.create", "VM.start"} & set(pool.names()[calls:])
    newer = cli("publish", hvm("cmdline=new"), *options, "--replace", "--watch", "1")
    assert newer.code == 0, newer.err
    states = {one["result"]: one["state"] for one in json.loads(cli("receipts", "ls", "--json").out)["receipts"]}
    assert states == {first.out.strip(): "destroyed", newer.out.strip(): "published"}
    clean(pool, VDI=1, VM=1, VBD=1)
    assert cli("receipts", "destroy", newer.out.strip()).code == 0
    clean(pool)


def test_another_kind_is_another_machine(
    cli: Cli, opened: Opened, hvm: Build, build: Build, kernels: Path
) -> None:
    """The same kernel, by PVH and by HVM, in one pool."""
    pool, options = opened(product=XCP_NG_8_3)
    by_pvh = build("boot=pvh", name="pvh.vhd", kernel=kernels / "hello-pvh.xen")
    for path in (by_pvh, hvm()):
        assert cli("publish", path, *options, "--vm").code == 0
    assert sorted(vm["domain_type"] for vm in pool.vms()) == ["hvm", "pvh"]
    clean(pool, VDI=2, VM=2, VBD=2)


def test_what_a_host_does_not_start_is_refused_with_what_it_does(
    cli: Cli, opened: Opened, build: Build, kernels: Path
) -> None:
    pool, options = opened(product=XCP_NG_8_3)
    said = cli("publish", build("boot=pv"), *options, "--vm")
    assert (said.code, said.out) == (3, "")
    assert "XCP-ng 8.3.0 starts no PV guests" in said.err
    assert "--boot pvh, of a kernel with a PVH entry" in said.err
    assert "--boot hvm, of one that GRUB loads" in said.err
    clean(pool)
    pool, options = opened(product=XCP_NG_8_2)
    said = cli("publish", build("boot=pvh", kernel=kernels / "hello-pvh.xen"), *options, "--vm")
    assert (said.code, said.out) == (3, "")
    assert "XCP-ng 8.2.1 has no PVH guests of your own kernel" in said.err
    assert "built with --boot hvm, those that GRUB loads" in said.err
    clean(pool)


def test_a_processor_without_virtualisation(
    cli: Cli, opened: Opened, hvm: Build, build: Build, hello: Path
) -> None:
    pool, options = opened(hvm=False)
    said = cli("publish", hvm(), *options, "--vm")
    assert (said.code, said.out) == (3, "")
    assert "no host of the pool has a processor with virtualisation, which HVM guests need" in said.err
    assert "import_raw_vdi" not in pool.names()
    clean(pool)
    assert cli("publish", build(name="pv.vhd", kernel=hello), *options, *START).code == 0
    clean(pool, VDI=1, VM=1, VBD=1)


@PRODUCTS
def test_an_appliance_is_imported_and_starts(pools: Pools, hvm: Build, product: Product) -> None:
    """By the host's own reading of the file, as `xe vm-import` has it done."""
    path = hvm("xcp.format=xva", name="app.xva")
    raw = hvm("xcp.format=raw", name="same.raw")
    pool = pools(product=product)
    client = Client(pool)
    ended = put(client, path.read_bytes())
    assert ended["status"] == "success", ended["error_info"]
    [vm], [vdi], [vbd] = pool.vms(), pool.vdis(), pool.vbds()
    assert (vm["HVM_boot_policy"], vm["HVM_boot_params"]["order"]) == ("BIOS order", "c")
    assert vm.get("domain_type", "hvm") == "hvm"
    assert (vbd["userdevice"], vbd["bootable"]) == ("0", True)
    assert map_blocks(pool.disk(vdi["uuid"])) == map_blocks(raw)
    client.api.VM.start(vm["ref"], *AT_ONCE)
    assert pool.vms()[0]["power_state"] == "Running"
    client.close()
    assert pool.complaints == []


@pytest.mark.parametrize(
    "params, code",
    [({"order": "c", "firmware": "coreboot"}, "INVALID_VALUE"), ({"order": "x"}, "INTERNAL_ERROR")],
)
def test_the_server_starts_no_firmware_that_there_is_none_of(
    cli: Cli, opened: Opened, hvm: Build, params: dict[str, str], code: str
) -> None:
    pool, options = opened()
    assert cli("publish", hvm(), *options, "--vm").code == 0
    client = Client(pool)
    vm = pool.vms()[0]["ref"]
    client.api.VM.set_HVM_boot_params(vm, params)
    with pytest.raises(Exception, match=code):
        client.api.VM.start(vm, *AT_ONCE)
    client.close()
