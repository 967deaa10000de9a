import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.conftest import MIB, Client, refused
from tests.fakes.xapi.settings import XCP_NG_8_2, XCP_NG_8_3, XENSERVER_6_5

Open = Callable[..., Client]
PVH = {"domain_type": "pvh"}


def bootable(one: Client, **more: object) -> str:
    """A VM with a disk on which there is something."""
    vm = one.vm(**more)
    vdi = one.vdi()
    one.put(vdi, b"a" * 512 + bytes(2 * MIB - 512))
    one.vbd(vm, vdi)
    return vm


def start(one: Client, vm: str) -> None:
    one.api.VM.start(vm, False, False)  # noqa: FBT003 -- XAPI's order


def test_a_vm_runs_and_is_shut_down(client: Open) -> None:
    one = client(product=XCP_NG_8_2)
    vm = bootable(one)
    network = one.api.network.get_all()[0]
    given = {"VM": vm, "network": network, "device": "0", "MAC": "", "MTU": "1500", "other_config": {}}
    vif = one.api.VIF.create(given | {"qos_algorithm_type": "", "qos_algorithm_params": {}})
    assert len(one.api.VIF.get_MAC(vif)) == 17
    start(one, vm)
    record = one.api.VM.get_record(vm)
    assert (record["power_state"], record["resident_on"]) == ("Running", one.api.host.get_all()[0])
    assert int(record["domid"]) > 0
    assert [one.api.console.get_protocol(each) for each in record["consoles"]] == ["vt100"]
    [vbd] = record["VBDs"]
    assert (one.api.VBD.get_currently_attached(vbd), one.api.VBD.get_device(vbd)) == (True, "xvda")
    vdi = one.api.VBD.get_VDI(vbd)
    assert refused("VDI_IN_USE", one.api.VDI.destroy, vdi) == [vdi, "destroy"]
    assert refused("VM_BAD_POWER_STATE", start, one, vm) == [vm, "halted", "running"]
    assert refused("VM_BAD_POWER_STATE", one.api.VM.destroy, vm) == [vm, "halted, suspended", "running"]
    refused("OPERATION_NOT_ALLOWED", one.api.VBD.destroy, vbd)
    refused("OPERATION_NOT_ALLOWED", one.api.VIF.destroy, vif)
    one.api.VM.clean_reboot(vm)
    one.api.VM.hard_shutdown(vm)
    assert refused("VM_BAD_POWER_STATE", one.api.VM.hard_shutdown, vm) == [
        vm,
        "paused, suspended, running",
        "halted",
    ]
    one.api.VM.destroy(vm)
    assert one.pool.left() == {"VDI": 1, "session": 1}


def test_pv_is_no_more_on_8_3_and_pvh_not_yet_on_8_2(client: Open) -> None:
    new = client(product=XCP_NG_8_3)
    vm = bootable(new)
    [text] = refused("INTERNAL_ERROR", start, new, vm)
    assert "Guest type PV unavailable" in text
    assert not new.api.VBD.get_currently_attached(new.api.VM.get_VBDs(vm)[0])
    new.api.VM.set_domain_type(vm, "pvh")
    start(new, vm)
    old = client(product=XCP_NG_8_2)
    with pytest.raises(Exception, match="Unknown tag"):
        old.vm(**PVH)


def test_old_hosts_go_by_the_boot_policy(client: Open) -> None:
    one = client(product=XENSERVER_6_5, hvm=False)
    vm = one.vm(HVM_boot_policy="BIOS order")
    assert refused("VM_HVM_REQUIRED", start, one, vm) == [vm]
    one.api.VM.set_HVM_boot_policy(vm, "")
    refused("INTERNAL_ERROR", start, one, vm)  # PV then, and no disk
    start(one, bootable(one))


def test_the_bootloader_looks_at_the_bootable_disk(client: Open) -> None:
    seen: list[tuple[bytes, str, str]] = []

    def look(disk: Path, bootloader: str, arguments: str) -> str:
        seen.append((disk.read_bytes()[:3], bootloader, arguments))
        return "" if arguments else "no menu"

    one = client(product=XCP_NG_8_2, bootloader=look)
    vm = bootable(one)
    assert refused("BOOTLOADER_FAILED", start, one, vm) == [vm, "no menu"]
    one.api.VM.set_PV_bootloader_args(vm, "--kernel x")
    start(one, vm)
    assert seen == [(b"aaa", "pygrub", ""), (b"aaa", "pygrub", "--kernel x")]
    empty = one.vm()
    one.vbd(empty, one.vdi())
    refused("BOOTLOADER_FAILED", start, one, empty)
    unknown = bootable(one, PV_bootloader="grub")
    [text] = refused("INTERNAL_ERROR", start, one, unknown)
    assert text.endswith("Bootloader.Unknown_bootloader grub")


def test_a_kernel_in_dom0(client: Open) -> None:
    kernel = "/var/lib/xcp/guest/kernel"
    one = client(guest_files=frozenset({kernel, "/boot/kernel"}))
    vm = one.vm(PV_bootloader="", PV_kernel=kernel, **PVH)
    start(one, vm)
    for wrong, why in (("/var/lib/xcp/guest/none", "File does not exist"), ("/boot/kernel", "Is not in any of")):
        bad = one.vm(PV_bootloader="", PV_kernel=wrong, **PVH)
        name, path, reason = refused("INVALID_VALUE", start, one, bad)
        assert (name, path) == ("PV_kernel", wrong)
        assert reason.startswith(why)


def test_a_guest_may_die(client: Open) -> None:
    one = client(product=XCP_NG_8_2, dies_after=0.2)
    vm = bootable(one)
    start(one, vm)
    assert one.api.VM.get_power_state(vm) == "Running"
    time.sleep(0.25)
    assert one.api.VM.get_power_state(vm) == "Halted"
    assert one.api.VM.get_consoles(vm) == []


def test_a_console_tells_what_comes_and_not_what_was(client: Open) -> None:
    one = client(product=XCP_NG_8_2, says=((0.0, b"gone by"), (0.6, b"hello"), (0.7, b" you")), dies_after=0.9)
    vm = bootable(one)
    one.api.VM.start(vm, True, False)  # noqa: FBT003 -- XAPI's order
    [console] = one.api.VM.get_consoles(vm)
    given = {"uuid": one.api.console.get_uuid(console), "session_id": one.session.handle}
    made, head = one.request("/console", {}, **given)
    made.close()
    assert head.startswith(b"HTTP/1.1 500 "), "a paused one is not listened to"
    refused("VM_BAD_POWER_STATE", start, one, vm)
    one.api.VM.unpause(vm)
    refused("VM_BAD_POWER_STATE", one.api.VM.unpause, vm)
    time.sleep(0.1)
    made, head = one.request("/console", {}, **given)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    with made:
        heard = b"".join(iter(lambda: made.recv(100), b""))
    assert heard == b"hello you"
    assert one.api.VM.get_power_state(vm) == "Halted"
    for wrong in (given, {**given, "session_id": "OpaqueRef:none"}, {"session_id": one.session.handle}):
        made, head = one.request("/console", {}, **wrong)
        made.close()
        assert head.split()[1] in {b"500", b"401"}


def test_memory_rises_in_order(client: Open) -> None:
    one = client(product=XCP_NG_8_2, memory=256 * MIB)
    vm = bootable(one)
    refused("MEMORY_CONSTRAINT_VIOLATION_ORDER", one.api.VM.set_memory_dynamic_min, vm, str(65 * MIB))
    four = [str(size * MIB) for size in (16, 128, 32, 64)]
    one.api.VM.set_memory_limits(vm, *four)
    assert one.api.VM.get_memory_dynamic_max(vm) == four[3]
    refused("MEMORY_CONSTRAINT_VIOLATION_ORDER", one.api.VM.set_memory_limits, vm, *four[::-1])
    wrong = bootable(one, memory_static_max="1")
    refused("MEMORY_CONSTRAINT_VIOLATION", start, one, wrong)
    large = bootable(
        one, **{f"memory_{name}": str(512 * MIB) for name in ("static_max", "dynamic_max", "dynamic_min")}
    )
    refused("HOST_NOT_ENOUGH_FREE_MEMORY", start, one, large)
    start(one, vm)
    refused("VM_BAD_POWER_STATE", one.api.VM.set_memory_static_max, vm, str(256 * MIB))


def test_virtual_processors(client: Open) -> None:
    one = client(product=XCP_NG_8_2)
    refused("VALUE_NOT_SUPPORTED", start, one, bootable(one, VCPUs_at_startup="2"))
    refused("INVALID_VALUE", start, one, bootable(one, VCPUs_max="0"))
    vm = one.vm()
    one.api.VM.set_VCPUs_max(vm, "4")
    one.api.VM.set_VCPUs_at_startup(vm, "2")
    refused("INVALID_VALUE", one.api.VM.set_VCPUs_at_startup, vm, "5")


def test_a_template_is_cloned_and_provisioned(client: Open) -> None:
    one = client(product=XCP_NG_8_2)
    [template] = one.api.VM.get_by_name_label("Other install media")
    assert refused("VM_IS_TEMPLATE", start, one, template) == [template, "start"]
    refused("VM_CANNOT_DELETE_DEFAULT_TEMPLATE", one.api.VM.destroy, template)
    vm = one.api.VM.clone(template, "ours")
    assert one.api.VM.get_is_a_template(vm)
    assert "default_template" not in one.api.VM.get_other_config(vm)
    one.api.VM.provision(vm)
    assert not one.api.VM.get_is_a_template(vm)
    start(one, vm)  # it is HVM, which needs nothing
    one.api.VM.hard_shutdown(vm)
    one.api.VM.set_domain_type(vm, "pv")
    assert one.api.VM.get_HVM_boot_policy(vm) == ""
    one.api.VM.destroy(vm)
    assert one.pool.vms() == []


def test_a_clone_has_disks_and_addresses_of_its_own(client: Open) -> None:
    one = client(product=XCP_NG_8_2)
    vm = bootable(one)
    network = one.api.network.get_all()[0]
    given = {"VM": vm, "network": network, "device": "0", "MAC": "", "MTU": "1500", "other_config": {}}
    one.api.VIF.create(given | {"qos_algorithm_type": "", "qos_algorithm_params": {}})
    other = one.api.VM.clone(vm, "other")
    [vdi] = [one.api.VBD.get_VDI(each) for each in one.api.VM.get_VBDs(other)]
    assert vdi not in [one.api.VBD.get_VDI(each) for each in one.api.VM.get_VBDs(vm)]
    assert one.pool.disk(vdi).read_bytes()[:512] == b"a" * 512
    assert len({each["MAC"] for each in one.pool.vifs()}) == 2
    start(one, vm)
    start(one, other)


def test_devices_are_checked(client: Open) -> None:
    one = client(product=XCP_NG_8_2)
    vm, vdi = one.vm(), one.vdi()
    one.vbd(vm, vdi)
    with pytest.raises(Exception, match="DEVICE_ALREADY_EXISTS"):
        one.vbd(vm, vdi, userdevice="xvda")
    with pytest.raises(Exception, match="INVALID_DEVICE"):
        one.vbd(vm, vdi, userdevice="first")
    with pytest.raises(Exception, match="VBD_CDS_MUST_BE_READONLY"):
        one.vbd(vm, vdi, userdevice="3", type="CD")
    with pytest.raises(Exception, match="HANDLE_INVALID"):
        one.vbd(vm, "OpaqueRef:none", userdevice="3")
    assert one.api.VBD.get_userdevice(one.vbd(vm, vdi, userdevice="autodetect")) == "1"
    assert one.api.VM.get_allowed_VBD_devices(vm)[0] == "2"
    network = one.api.network.get_all()[0]
    given = {"VM": vm, "network": network, "MTU": "1500", "other_config": {}}
    given |= {"qos_algorithm_type": "", "qos_algorithm_params": {}}
    refused("MAC_INVALID", one.api.VIF.create, given | {"device": "0", "MAC": "52:54"})
    refused("INVALID_DEVICE", one.api.VIF.create, given | {"device": "eth0", "MAC": ""})


def test_a_vdi_is_written_by_one_vm_alone(client: Open) -> None:
    one = client(product=XCP_NG_8_2)
    first = bootable(one)
    vdi = one.api.VBD.get_VDI(one.api.VM.get_VBDs(first)[0])
    second = one.vm()
    one.vbd(second, vdi)
    start(one, first)
    assert refused("VDI_IN_USE", start, one, second) == [vdi]
    extra = one.vdi()
    vbd = one.vbd(first, extra, userdevice="1")
    one.api.VBD.plug(vbd)
    refused("DEVICE_ALREADY_ATTACHED", one.api.VBD.plug, vbd)
    one.api.VBD.unplug(vbd)
    one.api.VBD.destroy(vbd)
