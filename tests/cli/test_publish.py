"""`imagekit publish` and `imagekit receipts`, on a rehearsed account over TLS."""

import json
import shutil
from inspect import signature
from pathlib import Path
from typing import cast

import boto3
import pytest

from imagekit.cli import publish
from imagekit.publish.aws.parent import read_back
from imagekit.recipe import PublishAmi, PublishEbs, PublishOpenstack, PublishXcp, PublishXen
from imagekit.rehearsal.account import Rehearsal
from imagekit.sparse import BLOCK, map_blocks
from tests.cli.conftest import Cli
from tests.publish.conftest import REGION, Open, held, rehearse

__all__ = ["rehearse"]
OTHER = "us-east-1"


@pytest.fixture
def ebs(cli: Cli, hello: Path) -> Path:
    """Return x.ebs, built, named relatively."""
    assert cli("build", hello, "-t", "ebs", "-o", "x.ebs", "-q").code == 0
    return Path("x.ebs")


def actions(account: Rehearsal) -> list[str]:
    return [call.action for call in account.calls]


def receipt(said: str) -> dict[str, object]:
    (found,) = json.loads(said)["receipts"]
    assert isinstance(found, dict)
    return found


def test_an_image_is_registered_whole(cli: Cli, ebs: Path, rehearse: Open) -> None:
    account = rehearse()
    said = cli("publish", ebs, "--region", REGION)
    assert said.code == 0, said.err
    (image,) = account.images(REGION)
    (snapshot,) = account.snapshots(REGION)
    assert said.out == f"{image.id}\n"
    client = boto3.client("ec2", region_name=REGION)
    (seen,) = client.describe_images(ImageIds=[image.id])["Images"]
    assert seen["VirtualizationType"] == "paravirtual"
    assert seen["Architecture"] == "x86_64"
    assert seen["KernelId"] == "aki-dc9ed9af"
    assert seen["RootDeviceName"] == "/dev/sda1"
    (mapping,) = seen["BlockDeviceMappings"]
    assert mapping["DeviceName"] == "/dev/sda1"
    assert mapping["Ebs"]["SnapshotId"] == snapshot.name
    assert mapping["Ebs"]["DeleteOnTermination"] is True
    assert mapping["Ebs"]["VolumeType"] == "gp2"
    assert not seen.get("EnaSupport")
    tags = {tag["Key"]: tag["Value"] for tag in seen["Tags"]}
    assert tags["imagekit:image"] == "app"
    assert tags["imagekit:digest"] == map_blocks(ebs).digest


def test_what_was_uploaded_reads_back_equal(cli: Cli, ebs: Path, rehearse: Open, tmp_path: Path) -> None:
    account = rehearse()
    assert cli("publish", ebs, "--region", REGION).code == 0
    (snapshot,) = account.snapshots(REGION)
    client = boto3.client("ebs", region_name=REGION)
    assert read_back(client, snapshot.name) == dict(map_blocks(ebs).blocks)
    snapshot.read_back(tmp_path / "back")
    assert map_blocks(tmp_path / "back") == map_blocks(ebs)


def test_twice_is_once(cli: Cli, ebs: Path, rehearse: Open) -> None:
    account = rehearse()
    first = cli("publish", ebs, "--region", REGION, "--region", OTHER)
    assert first.code == 0, first.err
    before = actions(account)
    again = cli("publish", ebs, "--region", REGION, "--region", OTHER)
    assert (again.code, again.out) == (0, first.out)
    later = actions(account)[len(before) :]
    assert not {"StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot", "RegisterImage"} & set(later)
    assert (held(account), held(account, OTHER)) == ((1, 1), (1, 1))


def test_a_stranger_without_our_ledger_gets_the_same(
    cli: Cli, ebs: Path, rehearse: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = rehearse()
    first = cli("publish", ebs, "--region", REGION)
    monkeypatch.setenv("IMAGEKIT_STATE_DIR", str(tmp_path / "elsewhere"))
    second = cli("publish", ebs, "--region", REGION, "--json")
    found = receipt(second.out)
    assert (found["result"], held(account)) == (first.out.strip(), (1, 1))
    resources = found["resources"]
    assert isinstance(resources, list)
    assert [one["ours"] for one in resources] == [False]
    said = cli("receipts", "destroy", str(found["id"]))
    assert (said.code, said.out, held(account)) == (0, "", (1, 1))
    assert "not made by it, and left alone" in said.err


def test_the_receipt_and_its_end(cli: Cli, ebs: Path, rehearse: Open, tmp_path: Path) -> None:
    account = rehearse()
    said = cli("publish", ebs, "--region", REGION, "--receipt", tmp_path / "r.json")
    ami = said.out.strip()
    copied = receipt((tmp_path / "r.json").read_text())
    assert (copied["result"], copied["state"], copied["region"]) == (ami, "published", REGION)
    listed = cli("receipts", "ls")
    assert ami in listed.out
    assert json.loads(cli("receipts", "show", ami).out) == copied
    account_secret = account.settings.keys.secret
    assert account_secret not in (tmp_path / "r.json").read_text() + said.err + listed.out
    gone = cli("receipts", "destroy", ami)
    assert gone.code == 0, gone.err
    assert held(account) == (0, 0)
    assert cli("receipts", "destroy", str(copied["id"])).out == ""
    back = cli("publish", ebs, "--region", REGION)
    assert back.code == 0, back.err
    assert held(account) == (1, 1)
    assert back.out.strip() not in {ami, ""}


def test_two_regions_and_a_copy_by_aws(cli: Cli, ebs: Path, rehearse: Open) -> None:
    account = rehearse(copying=0.5)
    said = cli("publish", ebs, "--region", REGION, "--region", OTHER, "--copy-snapshot")
    assert said.code == 0, said.err
    assert actions(account).count("CopySnapshot") == 1
    puts = [call.region for call in account.calls if call.action == "PutSnapshotBlock"]
    assert set(puts) == {REGION}
    assert (held(account), held(account, OTHER)) == ((1, 1), (1, 1))
    ids = said.out.split()
    assert ids == [account.images(REGION)[0].id, account.images(OTHER)[0].id]
    again = cli("publish", ebs, "--region", REGION, "--region", OTHER, "--copy-snapshot")
    assert again.out == said.out


def test_an_encrypted_snapshot_gets_every_block(cli: Cli, ebs: Path, rehearse: Open, tmp_path: Path) -> None:
    account = rehearse(encrypted=frozenset({REGION}))
    said = cli("publish", ebs, "--region", REGION)
    assert said.code == 0, said.err
    (snapshot,) = account.snapshots(REGION)
    assert len(snapshot.digests) == (1 << 30) // BLOCK
    snapshot.read_back(tmp_path / "back")
    assert map_blocks(tmp_path / "back") == map_blocks(ebs)


def test_a_parent_saves_what_is_the_same(cli: Cli, ebs: Path, rehearse: Open, tmp_path: Path) -> None:
    account = rehearse()
    assert cli("publish", ebs, "--region", REGION).code == 0
    (parent,) = account.snapshots(REGION)
    assert cli("build", "app.xen", "-t", "ebs", "--cmdline", "other=1", "-o", "y.ebs", "-q").code == 0
    said = cli("publish", "y.ebs", "--region", REGION, "--parent", parent.name)
    assert said.code == 0, said.err
    (child,) = [one for one in account.snapshots(REGION) if one is not parent]
    assert 0 < len(child.digests) < len(parent.digests)
    child.read_back(tmp_path / "back")
    assert map_blocks(tmp_path / "back") == map_blocks(Path("y.ebs"))


def test_boto3_puts_the_same(cli: Cli, ebs: Path, rehearse: Open, tmp_path: Path) -> None:
    account = rehearse()
    assert cli("publish", ebs, "--region", REGION, "--uploader", "boto3").code == 0
    account.snapshots(REGION)[0].read_back(tmp_path / "back")
    assert map_blocks(tmp_path / "back") == map_blocks(ebs)


def test_a_partitioned_disk_is_sda(cli: Cli, hello: Path, rehearse: Open) -> None:
    account = rehearse()
    said = cli("publish", hello, "--set", "disk.layout=mbr", "--region", REGION)
    assert said.code == 0, said.err
    client = boto3.client("ec2", region_name=REGION)
    (seen,) = client.describe_images(ImageIds=[account.images(REGION)[0].id])["Images"]
    assert seen["RootDeviceName"] == seen["BlockDeviceMappings"][0]["DeviceName"] == "/dev/sda"


def test_a_region_without_pv_is_refused_before_anything_is_made(cli: Cli, ebs: Path, rehearse: Open) -> None:
    account = rehearse()
    said = cli("publish", ebs, "--region", REGION, "--region", "eu-north-1")
    assert (said.code, said.out) == (3, "")
    assert "error: eu-north-1 has no instance type that runs PV guests\n" in said.err
    assert "hint: regions that have some: us-east-1, us-west-1," in said.err
    assert (held(account), "StartSnapshot" in actions(account)) == ((0, 0), False)


@pytest.mark.parametrize("clash, names", [("fail", 1), ("reuse", 1), ("suffix", 2)])
def test_a_name_that_another_has(cli: Cli, ebs: Path, rehearse: Open, clash: str, names: int) -> None:
    account = rehearse()
    first = cli("publish", ebs, "--region", REGION, "--name", "the app")
    assert cli("build", "app.xen", "-t", "ebs", "--cmdline", "other=1", "-o", "y.ebs", "-q").code == 0
    said = cli("publish", "y.ebs", "--region", REGION, "--name", "the app", "--on-name-clash", clash)
    assert len(account.images(REGION)) == names
    if clash == "fail":
        assert (said.code, said.out) == (5, "")
        assert f"the name 'the app' belongs to {first.out.strip()}, another image" in said.err
        assert held(account) == (1, 1)
    elif clash == "reuse":
        assert (said.code, said.out) == (0, first.out)
    else:
        assert said.code == 0
        assert sorted(image.name for image in account.images(REGION)) == ["the app", "the app-2"]
        again = cli("publish", "y.ebs", "--region", REGION, "--name", "the app", "--on-name-clash", clash)
        assert again.out == said.out


def test_given_to_others_and_deprecated(cli: Cli, hello: Path, rehearse: Open, tmp_path: Path) -> None:
    account = rehearse()
    (tmp_path / "app.toml").write_text(
        f'kernel = "{hello}"\ntargets = ["xen", "ebs"]\n[publish.ebs]\nregions = ["{REGION}"]\n'
        'share_with = ["210987654321"]\ndeprecate_at = "2030-01-01T00:00Z"\ndescription = "said so"\n'
        '[publish.ebs.tags]\nteam = "unikernels"\n'
    )
    said = cli("publish", "app.toml")
    assert said.code == 0, said.err
    client = boto3.client("ec2", region_name=REGION)
    ami = said.out.strip()
    permission = client.describe_image_attribute(ImageId=ami, Attribute="launchPermission")
    assert permission["LaunchPermissions"] == [{"UserId": "210987654321"}]
    (seen,) = client.describe_images(ImageIds=[ami])["Images"]
    assert seen["DeprecationTime"].startswith("2030-01-01")
    assert seen["Description"] == "said so"
    assert {"Key": "team", "Value": "unikernels"} in seen["Tags"]
    assert len(account.images(REGION)) == 1, "the xen target is not uploaded"
    assert not list((tmp_path / "cache" / "tmp").iterdir()), "what was built for it is gone again"


def test_a_proof_is_asked_for(cli: Cli, ebs: Path, rehearse: Open) -> None:
    account = rehearse()
    said = cli("publish", ebs, "--region", REGION, "--require-proof")
    assert (said.code, said.out) == (6, "")
    assert "x.ebs has no proof that it boots (pv-grub)" in said.err
    assert "x.ebs; `build` has --prove, which goes before --publish\n" in said.err
    assert actions(account) == []


def test_a_file_that_is_not_what_its_sidecar_says(cli: Cli, ebs: Path, rehearse: Open, tmp_path: Path) -> None:
    account = rehearse()
    with (tmp_path / ebs).open("r+b") as file:
        file.seek(1024)
        file.write(b"?")
    said = cli("publish", ebs, "--region", REGION)
    assert (said.code, said.out) == (6, "")
    assert "x.ebs is not what its sidecar says" in said.err
    assert actions(account) == []


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (("none.ebs",), 2, "none.ebs is not there, or has no sidecar beside it"),
        (("x.ebs",), 2, "no region is named"),
        (("x.ebs", "--region", "Ireland"), 2, "--region"),
        (("x.ebs", "--region", REGION, "--name", "a:b"), 5, "cannot be the name of an AMI"),
        (("x.ebs", "--region", REGION, "--share-with", "me"), 2, "--share-with"),
        (("x.ebs", "--region", REGION, "--parent", "snap-1"), 2, "--parent"),
        (("x.ebs", "--region", REGION, "--parent", "snap-0123456789abcdef0"), 5, "looking at the parent"),
        (("x.ebs", "--set", "memory=64MiB"), 2, "--set is for recipes and kernels"),
        (("app.xen", "-t", "xen", "--region", REGION), 2, "--region is not for the target xen"),
        (("app.xen", "-t", "xen"), 2, "no host is named"),
    ],
)
def test_what_cannot_be_meant(
    cli: Cli, ebs: Path, rehearse: Open, arguments: tuple[str, ...], code: int, words: str
) -> None:
    account = rehearse()
    assert ebs.exists()
    said = cli("publish", *arguments)
    assert (said.code, said.out) == (code, "")
    assert words in said.err
    assert "Traceback" not in said.err
    assert held(account) == (0, 0)


def test_no_credentials(cli: Cli, ebs: Path, rehearse: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    rehearse()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    said = cli("publish", ebs, "--region", REGION)
    assert (said.code, said.out) == (5, "")
    assert "there are no AWS credentials" in said.err


def test_the_names_of_the_old_tools(cli: Cli, ebs: Path, rehearse: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    account = rehearse()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("EC2_ACCESS", account.settings.keys.access)
    monkeypatch.setenv("EC2_ACCESS_SECRET", account.settings.keys.secret)
    assert cli("publish", ebs, "--region", REGION).code == 0


def test_wrong_keys_are_not_repeated(cli: Cli, ebs: Path, rehearse: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    rehearse()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-and-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-and-secret")
    said = cli("publish", ebs, "--region", REGION)
    assert (said.code, said.out) == (5, "")
    assert "and-secret" not in said.err


def test_build_and_publish(cli: Cli, hello: Path, rehearse: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    account = rehearse()
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    said = cli("build", hello, "-t", "ebs", "-o", "x.ebs", "--publish")
    assert said.code == 0, said.err
    assert said.out == f"x.ebs\n{account.images(REGION)[0].id}\n"
    assert Path("x.ebs.imagekit.json").exists()


def test_a_rehearsal_leaves_only_its_receipt(cli: Cli, hello: Path, rehearse: Open, tmp_path: Path) -> None:
    real = rehearse()
    said = cli("publish", hello, "--rehearse", "--region", REGION, "--json")
    assert said.code == 0, said.err
    assert receipt(said.out)["rehearsed"] is True
    assert f"rehearsed: {REGION} ec2 RegisterImage: 200" in said.err
    assert real.calls == []
    assert cli("receipts", "ls").out.count("\n") == 1
    assert cli("receipts", "ls", "--rehearsed").out.count("\n") == 2
    assert not list(tmp_path.glob("**/calls.jsonl"))[1:]


def test_a_rehearsal_is_forgotten_not_taken_back(cli: Cli, hello: Path) -> None:
    """Its account went with the command: the next one begins with nothing, and there is nothing to remove."""
    arguments = ("publish", hello, "--rehearse", "--region", REGION, "--json")
    first, again = receipt(cli(*arguments).out), receipt(cli(*arguments).out)
    kinds = [[one["kind"] for one in cast("list[dict[str, str]]", told["resources"])] for told in (first, again)]
    assert (again["id"], kinds[1]) == (first["id"], kinds[0])
    said = cli("receipts", "destroy", str(first["id"]))
    assert (said.code, said.out) == (0, "")
    assert said.err == f"{first['id']}: it was a rehearsal, and its account is gone with all that was in it\n"
    (left,) = json.loads(cli("receipts", "ls", "--rehearsed", "--json").out)["receipts"]
    assert left["state"] == "destroyed"
    assert all(one["gone"] for one in left["resources"])
    assert cli("receipts", "destroy", "no-such").code == 2


def test_what_is_published_outlives_a_later_failure(cli: Cli, ebs: Path, rehearse: Open) -> None:
    account = rehearse(faults=("ModifyImageAttribute 1 denied",))
    first = cli("publish", ebs, "--region", REGION)
    assert first.code == 0
    said = cli("publish", ebs, "--region", REGION, "--share-with", "210987654321")
    assert (said.code, said.out) == (5, "")
    assert f"{first.out.strip()} is published, and stays" in said.err
    assert held(account) == (1, 1)
    assert cli("publish", ebs, "--region", REGION, "--share-with", "210987654321").out == first.out


def test_sweeping(cli: Cli, ebs: Path, rehearse: Open) -> None:
    account = rehearse(faults=("CompleteSnapshot 1-99 denied",))
    said = cli("publish", ebs, "--region", REGION, "--keep-on-failure")
    assert (said.code, held(account)) == (5, (0, 1))
    assert "kept, as asked: snapshot snap-" in said.err
    (left,) = account.snapshots(REGION)
    assert cli("receipts", "sweep", "--older-than", "1d").out == ""
    shown = cli("receipts", "sweep", "--older-than", "0s", "--dry-run")
    assert (shown.out, held(account)) == (f"{left.name}\n", (0, 1))
    assert f"would remove snapshot {left.name} ({REGION})" in shown.err
    assert cli("receipts", "sweep", "--older-than", "0s").out == f"{left.name}\n"
    assert held(account) == (0, 0)


def test_sweeping_leaves_what_is_published(
    cli: Cli, ebs: Path, rehearse: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = rehearse()
    assert cli("publish", ebs, "--region", REGION).code == 0
    monkeypatch.setenv("IMAGEKIT_STATE_DIR", str(tmp_path / "elsewhere"))
    said = cli("receipts", "sweep", "--older-than", "0s", "--region", REGION)
    assert (said.code, said.out, held(account)) == (0, "", (1, 1))


def test_a_deleted_snapshot_is_made_again(cli: Cli, ebs: Path, rehearse: Open) -> None:
    """Its client token outlives it: the generation rises."""
    account = rehearse()
    ami = cli("publish", ebs, "--region", REGION).out.strip()
    client = boto3.client("ec2", region_name=REGION)
    client.deregister_image(ImageId=ami)
    account.snapshots(REGION)[0].started -= 100  # one that is new might only not be seen yet
    client.delete_snapshot(SnapshotId=account.snapshots(REGION)[0].name)
    shutil.rmtree("state")
    said = cli("publish", ebs, "--region", REGION)
    assert said.code == 0, said.err
    assert held(account) == (1, 1)


def test_every_flag_is_a_key_of_the_recipe() -> None:
    flags = set(signature(publish.publish).parameters)
    keys = {
        key
        for table in (PublishAmi, PublishEbs, PublishOpenstack, PublishXcp, PublishXen)
        for key in table.model_fields
    }
    ours = {"paths", "target", "sets", "require_proof", "rehearse", "keep_on_failure", "receipt"}
    shared = {"as_json", "quiet", "verbose"}
    assert flags - ours - shared - {"region", "fingerprint", "instance_type"} <= keys
