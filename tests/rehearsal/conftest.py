# ruff: noqa: ANN401 -- boto3 has no types
"""A rehearsed account and boto3's own clients of it."""

from base64 import b64encode
from collections.abc import Callable, Generator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from imagekit.rehearsal.account import Rehearsal
from imagekit.rehearsal.settings import AccountSettings
from imagekit.rehearsal.snapshots import BLOCK

IRELAND, VIRGINIA, STOCKHOLM, SPAIN = "eu-west-1", "us-east-1", "eu-north-1", "eu-south-2"


class Place:
    """An account, and clients that try once."""

    def __init__(self, account: Rehearsal, stack: ExitStack) -> None:
        self.account = account
        self._stack = stack
        self.ec2 = self.client("ec2")

    def client(self, service: str, region: str = IRELAND, **more: Any) -> Any:
        boto3 = pytest.importorskip("boto3")
        config = pytest.importorskip("botocore.config")
        keys = self.account.settings.keys
        given = {
            "region_name": region,
            "endpoint_url": self.account.url,
            "verify": str(self.account.trusted),
            "aws_access_key_id": keys.access,
            "aws_secret_access_key": keys.secret,
            "config": config.Config(retries={"total_max_attempts": 1}, read_timeout=5),
        }
        made = boto3.client(service, **(given | more))
        self._stack.callback(made.close)
        return made

    def snapshot(self, region: str = IRELAND, data: bytes = b"a" * BLOCK, **more: Any) -> str:
        ebs = self.client("ebs", region)
        name = str(ebs.start_snapshot(**{"VolumeSize": 1, **more})["SnapshotId"])
        ebs.put_snapshot_block(
            SnapshotId=name,
            BlockIndex=0,
            BlockData=data,
            DataLength=BLOCK,
            Checksum=b64encode(sha256(data).digest()).decode(),
            ChecksumAlgorithm="SHA256",
        )
        ebs.complete_snapshot(SnapshotId=name, ChangedBlocksCount=1)
        return name

    def asked(self, snapshot: str, **more: Any) -> dict[str, Any]:
        """What a PV-GRUB image is registered with."""
        disk = {"DeviceName": "/dev/sda", "Ebs": {"SnapshotId": snapshot, "VolumeType": "gp2"}}
        usual = {
            "Name": "hello",
            "Architecture": "x86_64",
            "VirtualizationType": "paravirtual",
            "RootDeviceName": "/dev/sda",
            "KernelId": "aki-dc9ed9af",
            "BlockDeviceMappings": [disk],
        }
        return {name: value for name, value in {**usual, **more}.items() if value is not None}

    def asked_hvm(self, snapshot: str, device: str = "/dev/xvda", **more: Any) -> dict[str, Any]:
        """What a BIOS disk is registered with."""
        usual = {
            "VirtualizationType": "hvm",
            "KernelId": None,
            "BootMode": "legacy-bios",
            "RootDeviceName": device,
        }
        asked = self.asked(snapshot, **{**usual, **more})
        asked["BlockDeviceMappings"][0]["DeviceName"] = device
        return asked

    def register(self, snapshot: str, **more: Any) -> str:
        return str(self.ec2.register_image(**self.asked(snapshot, **more))["ImageId"])

    def image(self, name: str) -> Any:
        return self.ec2.describe_images(ImageIds=[name])["Images"][0]


def refused(code: str, call: Callable[..., Any], *args: Any, **more: Any) -> str:
    errors = pytest.importorskip("botocore.exceptions")
    with pytest.raises(errors.ClientError) as caught:
        call(*args, **more)
    error = caught.value.response["Error"]
    assert error["Code"] == code, error
    return str(error.get("Message"))


@pytest.fixture
def place(tmp_path: Path) -> Generator[Callable[..., Place], None, None]:
    for name in ("boto3", "moto", "cryptography"):
        pytest.importorskip(name)
    with ExitStack() as stack:

        def make(**settings: Any) -> Place:
            folder = tmp_path / "account"
            folder.mkdir()
            return Place(stack.enter_context(Rehearsal(folder, AccountSettings(**settings))), stack)

        yield make
