"""`imagekit publish out/app.manifest.xml --bucket NAME`, on a rehearsed account over TLS."""

import os
from pathlib import Path

import boto3
import pytest

from imagekit.rehearsal.account import Rehearsal
from tests.cli.conftest import Cli
from tests.cli.test_bundle import KEYS, raw
from tests.publish.conftest import REGION, Open, rehearse

__all__ = ["raw", "rehearse"]
BUCKET = "our-bundles"
MANIFEST = Path("out/app.manifest.xml")


def opened(rehearse: Open, *, acls: bool = True, **settings: object) -> Rehearsal:
    account = rehearse(buckets=(f"{BUCKET}@{REGION}",), **settings)
    rules = {"Rules": [{"ObjectOwnership": "BucketOwnerPreferred" if acls else "BucketOwnerEnforced"}]}
    boto3.client("s3", region_name=REGION).put_bucket_ownership_controls(Bucket=BUCKET, OwnershipControls=rules)
    return account


@pytest.fixture
def bundle(cli: Cli, raw: Path) -> Path:
    assert cli("bundle", raw, "-o", "out", *KEYS).code == 0
    return MANIFEST


def keys() -> list[str]:
    found = boto3.client("s3", region_name=REGION).list_objects_v2(Bucket=BUCKET)
    return [one["Key"] for one in found.get("Contents", [])]


def puts(account: Rehearsal) -> int:
    return sum(call.action == "PutObject" for call in account.calls)


def test_a_type_that_boots_from_no_instance_store(cli: Cli, bundle: Path, rehearse: Open) -> None:
    account = opened(rehearse)
    said = cli("publish", bundle, "--bucket", BUCKET, "--instance-type", "t1.micro")
    assert (said.code, said.out, keys()) == (3, "", [])
    assert f"error: {REGION}: t1.micro has no root device on an instance store\n" in said.err
    assert account.images(REGION) == []
    assert cli("publish", bundle, "--bucket", BUCKET, "--instance-type", "m1.small").code == 0


def test_uploaded_registered_and_read_back(
    cli: Cli, bundle: Path, rehearse: Open, raw: Path, tmp_path: Path
) -> None:
    account = opened(rehearse)
    said = cli("publish", bundle, "--bucket", BUCKET, "--prefix", "images/")
    assert said.code == 0, said.err
    (image,) = account.images(REGION)
    assert said.out == f"{image.id}\n"
    assert "S3-backed AMIs are at their end of life" in said.err
    assert keys() == ["images/app.manifest.xml", "images/app.part.0"]
    (seen,) = boto3.client("ec2", region_name=REGION).describe_images(ImageIds=[image.id])["Images"]
    assert seen["ImageLocation"].endswith(f"{BUCKET}/images/app.manifest.xml")
    assert (seen["RootDeviceType"], seen["KernelId"]) == ("instance-store", "aki-dc9ed9af")
    (tmp_path / "back").mkdir()
    for key in keys():
        data = account.stored(BUCKET, key)
        assert data is not None
        (tmp_path / "back" / Path(key).name).write_bytes(data)
    assert cli("unbundle", "back/app.manifest.xml", "--private-key", "pk.pem", "-o", "back.raw").code == 0
    assert Path("back.raw").read_bytes() == raw.read_bytes()


def test_twice_is_once_and_destroyed_is_gone(cli: Cli, bundle: Path, rehearse: Open) -> None:
    account = opened(rehearse)
    first = cli("publish", bundle, "--bucket", BUCKET)
    sent = puts(account)
    again = cli("publish", bundle, "--bucket", BUCKET)
    assert (again.out, puts(account)) == (first.out, sent)
    assert cli("receipts", "destroy", first.out.strip()).code == 0
    assert (keys(), account.images(REGION)) == ([], [])


def test_a_bucket_without_access_lists_is_refused_first(cli: Cli, bundle: Path, rehearse: Open) -> None:
    account = opened(rehearse, acls=False)
    said = cli("publish", bundle, "--bucket", BUCKET)
    assert (said.code, said.out) == (5, "")
    assert f"the bucket {BUCKET} forbids access lists" in said.err
    assert "hint: aws s3api put-bucket-ownership-controls" in said.err
    assert (puts(account), keys()) == (0, [])


def test_a_failed_registration_is_undone(cli: Cli, bundle: Path, rehearse: Open) -> None:
    account = opened(rehearse, faults=("RegisterImage 1 denied",))
    said = cli("publish", bundle, "--bucket", BUCKET)
    assert (said.code, said.out) == (5, "")
    assert "removed again: object" in said.err
    assert (keys(), account.images(REGION)) == ([], [])
    assert cli("publish", bundle, "--bucket", BUCKET).code == 0


@pytest.mark.parametrize("kind", ["500", "throttle", "reset", "lost", "truncated"])
@pytest.mark.parametrize("action", ["HeadBucket", "PutObject", "HeadObject", "RegisterImage"])
def test_what_passes_is_outlived(cli: Cli, bundle: Path, rehearse: Open, action: str, kind: str) -> None:
    account = opened(rehearse, faults=(f"{action} 1 {kind}",))
    said = cli("publish", bundle, "--bucket", BUCKET)
    assert said.code == 0, said.err
    assert len(account.images(REGION)) == 1
    assert len(keys()) == 2


def test_a_kept_upload_is_gone_on_with(cli: Cli, bundle: Path, rehearse: Open) -> None:
    account = opened(rehearse, faults=("RegisterImage 1 denied",))
    assert cli("publish", bundle, "--bucket", BUCKET, "--keep-on-failure").code == 5
    sent = puts(account)
    assert cli("publish", bundle, "--bucket", BUCKET).code == 0
    assert puts(account) == sent


@pytest.mark.parametrize("damage", ["part", "missing", "manifest"])
def test_a_damaged_bundle_is_refused_first(cli: Cli, bundle: Path, rehearse: Open, damage: str) -> None:
    account = opened(rehearse)
    before = len(account.calls)
    if damage == "part":
        with Path("out/app.part.0").open("r+b") as file:
            file.write(b"?")
    elif damage == "missing":
        os.unlink("out/app.part.0")
    else:
        bundle.write_text("<manifest>")
    said = cli("publish", bundle, "--bucket", BUCKET)
    assert (said.code, said.out) == (6, "")
    assert len(account.calls) == before


def test_what_cannot_be_meant(cli: Cli, bundle: Path, rehearse: Open) -> None:
    opened(rehearse)
    for more, code, words in (
        ((), 2, "no bucket is named"),
        (("--bucket", "not-there"), 5, "there is no bucket not-there"),
        (("--bucket", "A_B"), 2, "--bucket"),
        (("--bucket", BUCKET, "--parent", "snap-0123456789abcdef0"), 2, "--parent is not for the target ami"),
        (("--bucket", BUCKET, "--require-proof"), 2, "a bundle has no proof"),
    ):
        said = cli("publish", bundle, *more)
        assert (said.code, said.out) == (code, ""), said.err
        assert words in said.err
