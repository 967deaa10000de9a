"""`imagekit publish` of HVM images to EC2: how they are registered, where they run, and what is refused first."""

import gzip
from pathlib import Path

import boto3
import pytest

from imagekit.kernel import Way
from imagekit.publish.aws.parent import read_back
from imagekit.rehearsal.account import Rehearsal
from imagekit.sparse import map_blocks
from tests.cli.conftest import Cli
from tests.cli.test_prove import prove
from tests.cli.test_publish import actions, receipt
from tests.kernel.elf_builder import bzimage, kernel, pvh_notes
from tests.prove.prepared import prepared
from tests.publish.conftest import REGION, Open, held, rehearse

__all__ = ["prove", "rehearse"]
OTHER, YOUNG, NITRO = "us-east-1", "eu-north-1", "eu-south-2"


@pytest.fixture
def hvm(cli: Cli, kernels: Path) -> Path:
    """Return x.ebs, of a kernel that EC2 boots by HVM alone, named relatively."""
    assert cli("build", kernels / "hello-pvh.xen", "-t", "ebs", "-o", "x.ebs", "-q").code == 0
    return Path("x.ebs")


@pytest.fixture
def linux(cli: Cli, tmp_path: Path) -> Path:
    """Return an image of a bzImage, named relatively."""
    image = bzimage(gzip.compress(kernel(pvh_notes()), mtime=0))
    (tmp_path / "linux.xen").write_bytes(image)
    said = cli("build", "linux.xen", "-t", "ebs", "--boot", "hvm", "-o", "linux.ebs", "-q")
    assert said.code == 0, said.err
    return Path("linux.ebs")


def seen(account: Rehearsal, region: str = REGION) -> dict[str, object]:
    (image,) = account.images(region)
    (found,) = boto3.client("ec2", region_name=region).describe_images(ImageIds=[image.id])["Images"]
    return dict(found)


def test_it_is_registered_to_boot_by_bios(cli: Cli, hvm: Path, rehearse: Open) -> None:
    account = rehearse()
    said = cli("publish", hvm, "--region", REGION, "--json")
    assert said.code == 0, said.err
    image = seen(account)
    assert (image["VirtualizationType"], image["BootMode"]) == ("hvm", "legacy-bios")
    assert image["Architecture"] == "x86_64"
    assert image["RootDeviceName"] == "/dev/xvda"
    assert [one["DeviceName"] for one in image["BlockDeviceMappings"]] == ["/dev/xvda"]  # type: ignore[attr-defined]
    assert not {"KernelId", "RamdiskId", "EnaSupport", "SriovNetSupport", "ImdsSupport"} & set(image)
    details = receipt(said.out)["details"]
    assert isinstance(details, dict)
    assert (details["virtualization"], details["boot_mode"]) == ("hvm", "legacy-bios")
    assert "kernel" not in details
    assert str(details["instance_families"]).startswith("c3, c4, d2, ")
    assert {"t2.micro", "m4.large", "c3.large"} <= set(details["instance_types"])
    assert not {"t3.micro", "m5.large", "t1.micro", "i3.metal"} & set(details["instance_types"])
    first = actions(account)[: actions(account).index("StartSnapshot")]
    assert first.count("DescribeImages") == 1, "no kernel of Amazon's was looked for"
    assert " runs on c3, c4, d2, " in said.err
    assert "not on Nitro's types: its kernel has no drivers for NVMe and ENA" in said.err


def test_what_was_uploaded_reads_back_equal(cli: Cli, hvm: Path, rehearse: Open, tmp_path: Path) -> None:
    account = rehearse()
    assert cli("publish", hvm, "--region", REGION).code == 0
    (snapshot,) = account.snapshots(REGION)
    client = boto3.client("ebs", region_name=REGION)
    assert read_back(client, snapshot.name) == dict(map_blocks(hvm).blocks)
    snapshot.read_back(tmp_path / "back")
    assert map_blocks(tmp_path / "back") == map_blocks(hvm)


def test_regions_and_copies_keep_it(cli: Cli, hvm: Path, rehearse: Open) -> None:
    account = rehearse()
    said = cli("publish", hvm, *("--region", REGION, "--region", YOUNG, "--copy-snapshot"))
    assert said.code == 0, said.err
    assert actions(account).count("CopySnapshot") == 1
    for region in (REGION, YOUNG):
        image = seen(account, region)
        assert (image["VirtualizationType"], image["BootMode"]) == ("hvm", "legacy-bios")
    assert f"{YOUNG}: {account.images(YOUNG)[0].id} runs on d2, i3;" in said.err


def test_twice_is_once_and_destroyed_is_gone(cli: Cli, hvm: Path, rehearse: Open) -> None:
    account = rehearse()
    first = cli("publish", hvm, "--region", REGION, "--region", OTHER)
    assert first.code == 0, first.err
    before = len(account.calls)
    again = cli("publish", hvm, "--region", REGION, "--region", OTHER)
    assert (again.code, again.out) == (0, first.out)
    later = actions(account)[before:]
    assert not {"StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot", "RegisterImage"} & set(later)
    assert cli("receipts", "destroy", *first.out.split()).code == 0
    assert (held(account), held(account, OTHER)) == ((0, 0), (0, 0))


def test_what_fails_is_taken_back(cli: Cli, hvm: Path, rehearse: Open) -> None:
    account = rehearse(faults=("RegisterImage 1 denied",))
    said = cli("publish", hvm, "--region", REGION)
    assert (said.code, said.out, held(account)) == (5, "", (0, 0))
    assert cli("publish", hvm, "--region", REGION).code == 0
    assert held(account) == (1, 1)


@pytest.mark.parametrize("number", [1, 3], ids=["which there are", "what is named"])
def test_instance_types_may_not_be_asked_for(cli: Cli, hvm: Path, rehearse: Open, number: int) -> None:
    account = rehearse(faults=(f"DescribeInstanceTypes {number} denied",))
    said = cli("publish", hvm, "--region", REGION, "--instance-type", "t2.micro")
    assert (said.code, said.out, held(account)) == (5, "", (0, 0))
    assert f"asking {REGION} for " in said.err
    assert "AWS answered UnauthorizedOperation" in said.err


@pytest.mark.parametrize(
    "name, words",
    [
        ("m5.large", "m5.large is of Nitro's: its disk is NVMe and its network ENA"),
        ("i3.metal", "i3.metal is bare metal: its disk is NVMe"),
        ("t1.micro", "t1.micro runs no HVM guests"),
        ("a1.large", "a1.large runs no x86_64 images"),
    ],
)
def test_a_named_type_that_would_not_run_it(cli: Cli, hvm: Path, rehearse: Open, name: str, words: str) -> None:
    account = rehearse()
    said = cli("publish", hvm, "--region", REGION, "--instance-type", "t2.micro", "--instance-type", name)
    assert (said.code, said.out) == (3, "")
    assert f"error: {REGION}: {words}" in said.err
    assert "hint: it runs on c3, c4, d2, " in said.err
    assert (held(account), "StartSnapshot" in actions(account)) == ((0, 0), False)


def test_named_types_in_a_recipe(cli: Cli, kernels: Path, rehearse: Open, tmp_path: Path) -> None:
    account = rehearse()
    recipe = tmp_path / "app.toml"
    table = f'kernel = "{kernels / "hello-pvh.xen"}"\ntargets = ["ebs"]\n[publish.ebs]\nregions = ["{REGION}"]\n'
    recipe.write_text(table + 'instance_types = ["c5.large"]\n')
    assert cli("publish", recipe).code == 3
    assert held(account) == (0, 0)
    recipe.write_text(table + 'instance_types = ["t2.micro", "m3.medium"]\n')
    assert cli("publish", recipe).code == 0
    recipe.write_text(table + 'instance_types = ["micro"]\n')
    assert cli("publish", recipe).code == 2


@pytest.mark.parametrize("device,code", [("/dev/sdb", 2), ("/dev/sda", 2), ("/dev/xvda1", 2), ("/dev/sda1", 0)])
def test_root_devices_that_ec2_has_for_hvm(
    cli: Cli, kernels: Path, rehearse: Open, tmp_path: Path, device: str, code: int
) -> None:
    account = rehearse()
    recipe = tmp_path / "app.toml"
    recipe.write_text(
        f'kernel = "{kernels / "hello-pvh.xen"}"\ntargets = ["ebs"]\n[publish.ebs]\nregions = ["{REGION}"]\n'
        f'root_device = "{device}"\n'
    )
    said = cli("publish", recipe)
    assert said.code == code, said.err
    if code:
        assert f"{device} is no root device of HVM" in said.err
        assert "hint: root_device = /dev/sda1 or /dev/xvda" in said.err
        assert (held(account), account.calls) == ((0, 0), []), "nothing was asked of EC2"
    else:
        assert seen(account)["RootDeviceName"] == device


def test_types_of_pv_images_are_asked_for_too(cli: Cli, hello: Path, rehearse: Open) -> None:
    account = rehearse()
    assert cli("build", hello, "-t", "ebs", "-o", "pv.ebs", "-q").code == 0
    said = cli("publish", "pv.ebs", "--region", REGION, "--instance-type", "t2.micro")
    assert (said.code, said.out, held(account)) == (3, "", (0, 0))
    assert f"error: {REGION}: t2.micro runs no PV guests\n" in said.err
    assert "hint: it runs on c1, c3, hs1, m1, m2, m3, t1" in said.err
    assert cli("publish", "pv.ebs", "--region", REGION, "--instance-type", "t1.micro").code == 0


def test_a_type_that_a_region_does_not_have(cli: Cli, hvm: Path, rehearse: Open) -> None:
    account = rehearse()
    said = cli("publish", hvm, "--region", REGION, "--region", YOUNG, "--instance-type", "t2.micro")
    assert (said.code, said.out, held(account)) == (2, "", (0, 0))
    assert f"error: {YOUNG} has not all of the instance types that are named\n" in said.err
    assert "[t2.micro]" in said.err


def test_a_region_without_xen(cli: Cli, hvm: Path, rehearse: Open) -> None:
    account = rehearse()
    said = cli("publish", hvm, "--region", REGION, "--region", NITRO)
    assert (said.code, said.out) == (3, "")
    assert f"error: {NITRO} has no instance type that boots a BIOS disk on Xen\n" in said.err
    assert held(account) == (0, 0)


def test_linux_may_run_on_nitro(cli: Cli, linux: Path, rehearse: Open) -> None:
    rehearse()
    said = cli("publish", linux, "--region", REGION, "--instance-type", "m5.large")
    assert said.code == 0, said.err
    assert f"warning: {REGION}: m5.large is of Nitro's: the kernel has to have drivers for NVMe" in said.err
    said = cli("publish", linux, "--region", NITRO)
    assert said.code == 0, said.err
    assert f"warning: {NITRO} has Nitro's instance types alone" in said.err
    said = cli("publish", linux, "--region", REGION, "--instance-type", "c6g.large")
    assert said.code == 3
    assert "c6g.large runs no x86_64 images\nc6g.large boots by UEFI alone\n" in said.err


def test_an_aki_is_not_for_hvm(cli: Cli, hvm: Path, kernels: Path, rehearse: Open, tmp_path: Path) -> None:
    assert hvm.exists()
    account = rehearse()
    (tmp_path / "app.toml").write_text(
        f'kernel = "{kernels / "hello-pvh.xen"}"\ntargets = ["ebs"]\n'
        f'[publish.ebs]\nregions = ["{REGION}"]\nkernel = "aki-dc9ed9af"\n'
    )
    said = cli("publish", "app.toml")
    assert (said.code, said.out) == (2, "")
    assert "boots by its own boot sector (HVM), and aki-dc9ed9af starts PV images only" in said.err
    assert actions(account) == []


@pytest.mark.parametrize("mode", ["uefi", None])
def test_a_name_is_not_reused_for_another_kind(cli: Cli, hvm: Path, rehearse: Open, mode: str | None) -> None:
    account = rehearse()
    client = boto3.client("ec2", region_name=REGION)
    assert cli("publish", hvm, "--region", REGION, "--name", "mine").code == 0
    (snapshot,) = account.snapshots(REGION)
    disk = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot.name}}]
    asked = {"Name": "theirs", "Architecture": "x86_64", "RootDeviceName": "/dev/xvda"}
    boot = {"VirtualizationType": "hvm", **({"BootMode": mode} if mode else {})}
    theirs = client.register_image(**asked, **boot, BlockDeviceMappings=disk)["ImageId"]
    said = cli("publish", hvm, "--region", REGION, "--name", "theirs", "--on-name-clash", "reuse")
    if mode is None:  # what was never said is what x86 does
        assert (said.code, said.out) == (0, f"{theirs}\n"), said.err
    else:
        assert (said.code, said.out) == (5, "")
        assert f"{theirs} has BootMode uefi, and legacy-bios is wanted" in said.err
        assert theirs in [one.id for one in account.images(REGION)], "another's image stays"


@pytest.mark.xdist_group("lab")
def test_what_lies_in_the_account_boots(cli: Cli, prove: Cli, hvm: Path, rehearse: Open, tmp_path: Path) -> None:
    prepared(Way.HVM)
    account = rehearse()
    assert cli("publish", hvm, "--region", REGION, "--require-proof").code == 6
    assert cli("publish", hvm, "--region", REGION).code == 0
    account.snapshots(REGION)[0].read_back(tmp_path / "back")
    said = prove("prove", "back", "--by", "hvm", "--expect", "hello from")
    assert (said.code, said.out) == (0, "back: booted (hvm)\n"), said.err
    assert cli("publish", hvm, "--region", REGION, "--require-proof").code == 0, "the same bytes are proven"
