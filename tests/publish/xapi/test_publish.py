"""Publishing to a pool: a strict xapi over TLS, by `imagekit publish`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.command import run
from imagekit.publish.xapi import console
from imagekit.sparse import map_blocks
from tests.cli.conftest import Cli
from tests.cli.test_prove import prove
from tests.fakes.conftest import Client
from tests.fakes.xapi.pool import Pool
from tests.fakes.xapi.settings import XCP_NG_8_2, XCP_NG_8_3, XENSERVER_6_5, Bridge, Machine, Storage
from tests.publish.ssh.conftest import MakeDom0, make_dom0
from tests.publish.xapi.conftest import Build, Opened

__all__ = ["make_dom0", "prove"]

START = ("--start", "--watch", "1")


def disk_of(path: Path) -> Path:
    """Return the raw disk in a VHD, by qemu-img."""
    run("qemu-img", "convert", "-O", "raw", path, "disk.raw")
    return Path("disk.raw")


def clean(pool: Pool, **left: int) -> None:
    """Hold that nothing is left but what is meant to be."""
    assert pool.left() == left
    assert pool.complaints == []


@pytest.mark.parametrize("form", ["vhd", "raw", "xva"])
@pytest.mark.parametrize("product", [XENSERVER_6_5, XCP_NG_8_2, XCP_NG_8_3], ids=lambda one: one.version)
def test_a_disk(cli: Cli, opened: Opened, build: Build, form: str, product: object) -> None:
    pool, options = opened(product=product)
    path = build(f"xcp.format={form}", "disk.size=8MiB", name=f"app.{form}")
    raw = build("xcp.format=raw", "disk.size=8MiB", name="same.raw")
    said = cli("publish", path, *options)
    assert said.code == 0, said.err
    (vdi,) = pool.vdis()
    assert said.out == f"{vdi['uuid']}\n"
    assert vdi["virtual_size"] == 8 << 20
    assert map_blocks(pool.disk(vdi["uuid"])) == map_blocks(raw)
    clean(pool, VDI=1)


@pytest.mark.parametrize("product", [XENSERVER_6_5, XCP_NG_8_2], ids=lambda one: one.version)
def test_a_machine(cli: Cli, opened: Opened, hello: Path, product: object) -> None:
    pool, options = opened(product=product, networks=(Bridge("lan", "xenbr0"), Bridge("dmz", "xenbr1")))
    assert hello.exists()
    recipe = Path("app.toml")
    recipe.write_text(
        'kernel="app.xen"\ntargets=["xcp"]\nmemory="32MiB"\nvcpus=2\n[xcp]\ntags=["web"]\ndescription="it is"\n'
        '[[xcp.vif]]\nnetwork="lan"\nmac="00:16:3e:00:00:01"\n[[xcp.vif]]\nbridge="xenbr1"\n'
    )
    said = cli("publish", recipe, *options, *START)
    assert said.code == 0, said.err
    (vm,) = pool.vms()
    assert said.out == f"{vm['uuid']}\n"
    assert (vm["name_label"], vm["power_state"], vm["PV_bootloader"]) == ("app", "Running", "pygrub")
    assert (vm["memory_static_max"], vm["VCPUs_max"], vm["tags"]) == (32 << 20, 2, ["web"])
    assert [vif["MAC"] for vif in pool.vifs() if vif["device"] == "0"] == ["00:16:3e:00:00:01"]
    (vbd,) = pool.vbds()
    assert vbd["bootable"]
    clean(pool, VDI=1, VM=1, VBD=1, VIF=2)


def test_twice_is_once_and_destroyed_is_gone(cli: Cli, opened: Opened, build: Build) -> None:
    pool, options = opened()
    path = build()
    first = cli("publish", path, *options, *START)
    assert first.code == 0, first.err
    calls = len(pool.calls)
    again = cli("publish", path, *options, *START)
    assert (again.code, again.out) == (0, first.out)
    assert not {"VDI.create", "import_raw_vdi", "VM.create", "VM.start"} & set(pool.names()[calls:])
    said = cli("receipts", "destroy", first.out.strip())
    assert said.code == 0, said.err
    clean(pool)


def test_pv_is_refused_where_it_was_removed(cli: Cli, opened: Opened, build: Build) -> None:
    pool, options = opened(product=XCP_NG_8_3)
    said = cli("publish", build(), *options, "--vm")
    assert (said.code, said.out) == (3, "")
    assert "XCP-ng 8.3.0 starts no PV guests" in said.err
    assert "--boot pvh" in said.err
    clean(pool)


def test_pvh_where_it_is(cli: Cli, opened: Opened, build: Build, kernels: Path) -> None:
    pool, options = opened(product=XCP_NG_8_3)
    path = build(kernel=kernels / "hello-pvh.xen")
    said = cli("publish", path, *options, *START)
    assert said.code == 0, said.err
    (vm,) = pool.vms()
    assert (vm["domain_type"], vm["platform"]["nx"], vm["platform"]["pae"]) == ("pvh", "true", "true")
    clean(pool, VDI=1, VM=1, VBD=1)


def test_a_newer_build_takes_the_place(cli: Cli, opened: Opened, build: Build) -> None:
    pool, options = opened()
    first = cli("publish", build(), *options, *START)
    assert first.code == 0, first.err
    second = cli("publish", build("cmdline=new"), *options, "--replace", "--watch", "1")
    assert second.code == 0, second.err
    (vm,) = pool.vms()
    assert (f"{vm['uuid']}\n", vm["power_state"]) == (second.out, "Running")
    assert second.out != first.out
    states = {one["result"]: one["state"] for one in json.loads(cli("receipts", "ls", "--json").out)["receipts"]}
    assert states == {first.out.strip(): "destroyed", second.out.strip(): "published"}
    clean(pool, VDI=1, VM=1, VBD=1)


def test_what_dies_leaves_the_old_one(cli: Cli, opened: Opened, build: Build) -> None:
    pool, options = opened()
    first = cli("publish", build(), *options, *START)
    pool.fault("VM.start 1 BOOTLOADER_FAILED:ref,no kernel")
    said = cli("publish", build("cmdline=new"), *options, "--replace")
    assert (said.code, said.out) == (5, "")
    assert "BOOTLOADER_FAILED" in said.err
    (vm,) = pool.vms()
    assert (f"{vm['uuid']}\n", vm["power_state"]) == (first.out, "Running")
    clean(pool, VDI=1, VM=1, VBD=1)


def test_a_machine_that_ends_at_once(cli: Cli, opened: Opened, build: Build) -> None:
    pool, options = opened(dies_after=0.1)
    said = cli("publish", build(), *options, *START)
    assert said.code == 5
    assert "is halted again\nof its console nothing was heard" in said.err
    clean(pool)


@pytest.mark.parametrize("place", [0, 1], ids=["master", "another host"])
def test_what_it_said_before_it_died(cli: Cli, opened: Opened, build: Build, place: int) -> None:
    hosts = (Machine("master", "127.0.0.1"), Machine("other", "127.0.0.2"))
    says = ((0.4, b"\x1b[31mFatal error\x1b[0m: no\r\n\r\n"), (0.5, b"address \xff"), (0.6, b" for tap0\r\n"))
    storage = (Storage("Local storage", host=place),)
    pool, options = opened(hosts=hosts, storage=storage, says=says, dies_after=0.8)
    said = cli("publish", build(), *options, *START)
    assert said.code == 5
    assert "is halted again\nits console said:\nFatal error: no\naddress \\xff for tap0\n" in said.err
    assert [call.host for call in pool.calls if call.name == "console"] == [place]
    clean(pool)


@pytest.mark.parametrize("fault", ["console 1 reset", "console 1 500", "console 1 hang", "VM.get_consoles 1 DB:x"])
def test_a_console_that_cannot_be_heard_is_no_failure(
    cli: Cli, opened: Opened, build: Build, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "ANSWER", 0.5)
    pool, options = opened(faults=(fault,))
    said = cli("publish", build(), *options, *START)
    assert (said.code, said.out) == (0, f"{pool.vms()[0]['uuid']}\n"), said.err
    clean(pool, VDI=1, VM=1, VBD=1)


def test_a_machine_that_a_killed_run_left_paused(cli: Cli, opened: Opened, build: Build) -> None:
    pool, options = opened()
    path = build()
    first = cli("publish", path, *options, *START)
    pool.set("VM", pool.vms()[0]["ref"], power_state="Paused")
    again = cli("publish", path, *options, *START)
    assert (again.code, again.out) == (0, first.out), again.err
    assert pool.vms()[0]["power_state"] == "Running"
    clean(pool, VDI=1, VM=1, VBD=1)


def test_thick_storage_without_vhds_gets_it_raw(cli: Cli, opened: Opened, build: Build) -> None:
    pool, options = opened(storage=(Storage("Local storage", type="lvm", vhd=False),))
    path = build("disk.size=8MiB")
    said = cli("publish", path, *options)
    assert said.code == 0, said.err
    assert "keeps no VHDs: the disk is sent raw" in said.err
    (vdi,) = pool.vdis()
    assert map_blocks(pool.disk(vdi["uuid"])) == map_blocks(disk_of(path))
    clean(pool, VDI=1)


def test_another_host_takes_the_disk(cli: Cli, opened: Opened, build: Build) -> None:
    hosts = (Machine("master", "127.0.0.1"), Machine("other", "127.0.0.2"))
    pool, options = opened(hosts=hosts, storage=(Storage("Local storage", host=1),))
    said = cli("publish", build(), *options)
    assert said.code == 0, said.err
    assert [call.host for call in pool.calls if call.name == "import_raw_vdi"] == [0, 1]
    clean(pool, VDI=1)


def test_a_slave_leads_to_its_master(cli: Cli, opened: Opened, build: Build) -> None:
    hosts = (Machine("master", "127.0.0.1"), Machine("slave", "127.0.0.2"))
    pool, (_, _, _, master) = opened(hosts=hosts)
    slave = pool.identities[1].fingerprint
    host = pool.host_url(1).removeprefix("https://")
    said = cli("publish", build(), "--host", host, "--fingerprint", slave, "--fingerprint", master)
    assert said.code == 0, said.err
    clean(pool, VDI=1)
    said = cli("publish", build(), "--host", host, "--fingerprint", slave)
    assert said.code == 5
    assert f"its SHA-256 is {master}" in said.err


@pytest.mark.parametrize("wrong", ["fingerprint", "none", "password"])
def test_nobody_is_believed(
    cli: Cli, opened: Opened, build: Build, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, options = opened()
    if wrong == "fingerprint":
        options = (*options[:3], ":".join(["AB"] * 32))
    elif wrong == "none":
        options = options[:2]
    else:
        monkeypatch.setenv("XAPI_PASSWORD", "battery staple")
    said = cli("publish", build(), *options)
    assert (said.code, said.out) == (5, "")
    assert "battery" not in said.err
    assert "correct horse" not in said.err
    if wrong != "password":
        assert pool.fingerprint in said.err
        assert pool.calls == [], "not even the user's name was sent"
    clean(pool)


def test_credentials_in_a_file(
    cli: Cli, opened: Opened, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, options = opened()
    monkeypatch.delenv("XAPI_PASSWORD")
    path = build()
    said = cli("publish", path, *options)
    assert said.code == 2
    assert "no password for root" in said.err
    home = tmp_path / "home"
    home.mkdir()
    (home / ".xe").write_text(f"username=root\npassword={pool.settings.password}\n")
    (home / ".xe").chmod(0o644)
    said = cli("publish", path, *options)
    assert said.code == 2
    assert "can be read by others" in said.err
    (home / ".xe").chmod(0o600)
    assert cli("publish", path, *options).code == 0
    clean(pool, VDI=1)


@pytest.mark.parametrize(
    "settings, option, words",
    [
        ({"default_sr": ""}, (), "the pool has no default SR"),
        ({"default_sr": "dangling"}, (), "the pool has no default SR"),
        ({}, ("--sr", "nowhere"), "no SR is named 'nowhere'"),
        ({"storage": (Storage("a"), Storage("a"))}, ("--sr", "a"), "2 SRs are named 'a'"),
        ({"storage": (Storage("Local storage", plugged=False),)}, (), "is not attached to any host"),
        ({"storage": (Storage("Local storage", type="lvm", size=4 << 20),)}, (), "has no room for the disk"),
    ],
)
def test_storage_that_cannot_be_meant(
    cli: Cli, opened: Opened, build: Build, settings: dict[str, object], option: tuple[str, ...], words: str
) -> None:
    pool, options = opened(**settings)
    said = cli("publish", build("disk.size=8MiB"), *options, *option)
    assert said.code in {2, 5}
    assert words in said.err
    clean(pool)


FAULTS = [
    "VDI.create 1 SR_BACKEND_FAILURE_44:,There is insufficient space,",
    "task.create 1 INTERNAL_ERROR:x",
    "import_raw_vdi 1-3 500",
    "import_raw_vdi 1-3 reset",
    "import_raw_vdi 1-3 cut=70000",
    "import_raw_vdi 1-3 late=VDI_IO_ERROR",
    "import_raw_vdi 1-4 redirect",
    "VDI.add_to_other_config 1 INTERNAL_ERROR:x",
    "VM.create 1 MEMORY_CONSTRAINT_VIOLATION",
    "VBD.create 1 DEVICE_ALREADY_EXISTS:0",
    "VM.start 1 NO_HOSTS_AVAILABLE",
    "VM.start 1 reset",
]


@pytest.mark.parametrize("fault", FAULTS)
def test_what_fails_leaves_nothing(cli: Cli, opened: Opened, build: Build, fault: str) -> None:
    pool, options = opened(faults=(fault,))
    path = build("disk.size=8MiB")
    said = cli("publish", path, *options, *START)
    assert (said.code, said.out) == (5, ""), said.err
    assert "Traceback" not in said.err
    clean(pool)
    said = cli("publish", path, *options, *START)
    assert said.code == 0, said.err
    clean(pool, VDI=1, VM=1, VBD=1)


@pytest.mark.parametrize(
    "fault",
    [
        "* 3-5 500",
        "VDI.get_uuid 1 reset",
        "task.get_record 1 expire",
        "SR.get_record 1 expire",
        "import_raw_vdi 1 500",
        "import_raw_vdi 1-2 cut=70000",
        "import_raw_vdi 1 reset",
        "VDI.add_to_other_config 1 lost",
        "VDI.destroy 1 lost",
    ],
)
def test_what_passes_is_outlived(cli: Cli, opened: Opened, build: Build, fault: str) -> None:
    pool, options = opened(faults=(fault,))
    said = cli("publish", build(), *options)
    assert said.code == 0, said.err
    clean(pool, VDI=1)


def test_a_kernel_in_dom0(cli: Cli, opened: Opened, make_dom0: MakeDom0, hello: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dom0" / "images"
    product = replace(XCP_NG_8_2, guest_folder=f"{folder}/")
    pool, options = opened(product=product, guest_files=_Files())
    dom0 = make_dom0()
    recipe = Path("app.toml")
    recipe.write_text(
        f'kernel="app.xen"\ntargets=["xcp"]\ncmdline="x=1"\n[xcp]\nloader="direct"\n'
        f'[publish.xcp]\nssh="dom0"\nguest_folder="{folder}"\n'
    )
    said = cli("publish", recipe, *options, *START)
    assert said.code == 0, said.err
    (vm,) = pool.vms()
    assert (vm["PV_bootloader"], vm["PV_args"]) == ("", "x=1")
    assert Path(vm["PV_kernel"]).read_bytes() == hello.read_bytes()
    clean(pool, VDI=1, VM=1, VBD=1)
    assert cli("receipts", "destroy", said.out.strip()).code == 0
    assert dom0.files == []
    clean(pool)
    pool.fault("VM.create 1 MEMORY_CONSTRAINT_VIOLATION")
    assert cli("publish", recipe, *options, *START).code == 5
    assert dom0.files == []
    clean(pool)


class _Files(frozenset[str]):
    """The files that are really there."""

    def __contains__(self, path: object) -> bool:
        return Path(str(path)).is_file()


def test_sweep_finds_what_was_begun(cli: Cli, opened: Opened, build: Build) -> None:
    pool, options = opened()
    said = cli("publish", build(), *options)
    assert said.code == 0, said.err
    client = Client(pool)
    marks = {"imagekit:publication": "0123456789abcdef", "imagekit:begun": "2026-01-01T00:00:00Z"}
    begun = client.api.VDI.get_uuid(client.vdi(other_config=marks))
    client.vdi(other_config={**marks, "imagekit:begun": "2999-01-01T00:00:00Z"})
    client.vdi(other_config={**marks, "imagekit:complete": "2026-01-01T00:00:00Z"})
    client.vdi()
    said = cli("receipts", "sweep", "--older-than", "1d", "--dry-run")
    assert (said.code, said.out) == (0, f"{begun}\n"), said.err
    assert len(pool.vdis()) == 5
    said = cli("receipts", "sweep", "--older-than", "1d")
    assert (said.code, said.out) == (0, f"{begun}\n"), said.err
    assert len(pool.vdis()) == 4
    client.close()


def test_verified_and_not_what_it_says(cli: Cli, build: Build) -> None:
    for form in ("vhd", "raw", "xva"):
        path = build(f"xcp.format={form}", "disk.layout=gpt", name=f"app.{form}")
        said = cli("verify", path)
        assert said.code == 0, said.err
        assert "VDI: " in said.err
    data = bytearray(Path("app.vhd").read_bytes())
    data[len(data) // 2] ^= 1
    Path("app.vhd").write_bytes(data)
    said = cli("verify", "app.vhd")
    assert said.code == 6
    assert "is not the file that its sidecar describes" in said.err


@pytest.mark.parametrize("layout", ["plain", "mbr", "gpt"])
def test_pygrub_in_dom0_finds_the_kernel(
    cli: Cli, opened: Opened, build: Build, hello: Path, tmp_path: Path, layout: str
) -> None:
    taken: list[bytes] = []

    def pygrub(disk: Path, bootloader: str, arguments: str) -> str:
        """Run it as xapi's xenopsd does when a VM starts; only where its files go is ours."""
        assert (bootloader, arguments) == ("pygrub", "")
        out = tmp_path / "pygrub"
        out.mkdir()
        done = run("pygrub", "--output-format=simple", "-q", f"--output-directory={out}", disk, ok=range(256))
        if done.status:
            return done.complaint()
        kernel, args = (line.partition(" ")[2] for line in done.stdout.decode().splitlines()[:2])
        taken.extend([Path(kernel).read_bytes(), args.strip().encode()])
        return ""

    pool, options = opened(bootloader=pygrub)
    said = cli("publish", build(f"disk.layout={layout}", "cmdline=x=1"), *options, *START)
    assert said.code == 0, said.err
    assert taken == [hello.read_bytes(), b"x=1"]
    clean(pool, VDI=1, VM=1, VBD=1)


@pytest.mark.xdist_group("lab")
def test_what_was_uploaded_boots(cli: Cli, opened: Opened, build: Build, prove: Cli) -> None:
    pool, options = opened()
    path = build()
    assert cli("publish", path, *options).code == 0
    (vdi,) = pool.vdis()
    Path("back").write_bytes(pool.disk(vdi["uuid"]).read_bytes())
    for one in (("back", "--by", "pygrub"), (path,)):
        said = prove("prove", *one, "--expect", "hello from")
        assert (said.code, said.out.partition(": ")[2]) == (0, "booted (pygrub)\n"), said.err


def test_replacing_leaves_what_is_not_ours(cli: Cli, opened: Opened, build: Build) -> None:
    pool, options = opened()
    assert cli("publish", build(), *options, "--vm").code == 0
    client = Client(pool)
    theirs = client.vdi(name_label="my database")
    (old,) = pool.vms()
    client.vbd(old["ref"], theirs, userdevice="1")
    client.close()
    said = cli("publish", build("cmdline=new"), *options, "--replace", "--watch", "1")
    assert said.code == 0, said.err
    assert "my database" in [one["name_label"] for one in pool.vdis()]
    clean(pool, VDI=2, VM=1, VBD=1, session=1)


@pytest.mark.parametrize("fault", ["VDI.destroy 1-9 SR_BACKEND_FAILURE:x", "VM.destroy 1-9 INTERNAL_ERROR:x"])
def test_tidying_that_fails_does_not_undo(cli: Cli, opened: Opened, build: Build, fault: str) -> None:
    pool, options = opened()
    assert cli("publish", build(), *options, *START).code == 0
    pool.fault(fault)
    said = cli("publish", build("cmdline=new"), *options, "--replace", "--watch", "1")
    assert said.code == 0, said.err
    assert "warning: VM " in said.err
    assert f"{said.out.strip()}" in [one["uuid"] for one in pool.vms() if one["power_state"] == "Running"]


def test_what_is_copied_from_ours_is_not_ours(cli: Cli, opened: Opened, build: Build) -> None:
    pool, options = opened()
    path = build()
    first = cli("publish", path, *options)
    client = Client(pool)
    ours = pool.vdis()[0]
    for flag in (False, True):  # a clone, and a backup tool's snapshot
        copied = client.vdi(name_label=ours["name_label"], other_config=ours["other_config"])
        pool.set("VDI", copied, is_a_snapshot=flag)
    client.close()
    again = cli("publish", path, *options)
    assert (again.code, again.out) == (0, first.out), again.err
    assert cli("receipts", "sweep", "--older-than", "0h").code == 0
    assert len(pool.vdis()) == 3
    assert cli("receipts", "destroy", first.out.strip()).code == 0
    assert len(pool.vdis()) == 2


def test_a_renamed_machine_keeps_its_disk(cli: Cli, opened: Opened, build: Build) -> None:
    pool, options = opened()
    path = build()
    first = cli("publish", path, *options, "--vm")
    pool.set("VM", pool.vms()[0]["ref"], name_label="precious")
    again = cli("publish", path, *options, "--vm")
    assert (again.code, again.out) == (0, first.out), again.err
    clean(pool, VDI=1, VM=1, VBD=1)


def test_what_the_recipe_said_is_in_the_artifact(cli: Cli, opened: Opened, hello: Path) -> None:
    assert hello.exists()
    pool, options = opened(networks=(Bridge("lan", "xenbr0"),))
    Path("app.toml").write_text(
        'kernel="app.xen"\ntargets=["xcp"]\n[xcp]\ntags=["web"]\n[[xcp.vif]]\nnetwork="lan"\n'
    )
    assert cli("build", "app.toml", "-q", "-o", "app.vhd").code == 0
    assert cli("publish", "app.vhd", *options, "--vm").code == 0
    clean(pool, VDI=1, VM=1, VBD=1, VIF=1)
    said = cli("publish", "app.toml", *options)
    assert said.code == 0, said.err
    assert len(pool.vms()) == 1
    assert pool.vms()[0]["tags"] == ["web"]


def test_sweep_by_receipt_and_by_the_credentials_file(
    cli: Cli, opened: Opened, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, options = opened()
    monkeypatch.delenv("XAPI_PASSWORD")
    given = tmp_path / "credentials"
    given.write_text(f"username=root\npassword={pool.settings.password}\n")
    given.chmod(0o600)
    recipe = Path("app.toml")
    build()
    recipe.write_text(f'kernel="app.xen"\ntargets=["xcp"]\n[publish.xcp]\ncredentials="{given}"\n')
    pool.fault("VM.start 1 NO_HOSTS_AVAILABLE")
    said = cli("publish", recipe, *options, *START, "--keep-on-failure")
    assert said.code == 5
    assert set(pool.left()) == {"VDI", "VM", "VBD"}
    said = cli("receipts", "sweep", "--older-than", "0h")
    assert said.code == 0, said.err
    assert len(said.out.split()) == 2
    clean(pool)
    said = cli("publish", recipe, *options, "--vm")
    assert said.code == 0, said.err
    assert cli("receipts", "destroy", said.out.strip()).code == 0
    clean(pool)


def test_one_that_cannot_be_taken_back_does_not_keep_the_others(cli: Cli, opened: Opened, build: Build) -> None:
    pool, options = opened()
    results = [cli("publish", build(f"cmdline={word}"), *options).out.strip() for word in ("one", "two")]
    pool.fault("VDI.destroy 1 SR_BACKEND_FAILURE:x")
    said = cli("receipts", "destroy", *results)
    assert (said.code, said.out) == (5, f"{results[1]}\n"), said.err
    clean(pool, VDI=1)
    assert cli("receipts", "destroy", results[0]).code == 0
    clean(pool)
