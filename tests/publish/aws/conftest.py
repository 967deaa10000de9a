# ruff: noqa: ANN401 -- boto3 has no types
"""A rehearsed account, an image, and what an upload to it needs."""

import os
import random
import ssl
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imagekit.publish.aws.blocks import Target, Uploaded
from imagekit.publish.aws.signing import Credentials
from imagekit.publish.aws.upload import Options, Patience, upload
from imagekit.rehearsal.ebs import EbsServer, Settings
from imagekit.sparse import BLOCK, BlockMap, map_blocks

pytest.importorskip("cryptography")
QUICK = Patience(connect=2, read=1, attempts=4, settle=5, throttled=20, first=0.02, longest=0.2)


class Bench:
    """A server and an image of ten blocks, two of them zero, a hole of five, and a last block that is short."""

    def __init__(self, server: EbsServer, image: Path) -> None:
        self.server = server
        self.image = image
        self.blocks: BlockMap = map_blocks(image)
        self.client = client(server)

    def start(self, **more: Any) -> str:
        return str(self.client.start_snapshot(VolumeSize=1, **more)["SnapshotId"])

    def target(self, snapshot: str, *, encrypted: bool = False) -> Target:
        return Target(self.server.endpoint, self.server.settings.region, snapshot, 1, encrypted)

    def credentials(self) -> Credentials:
        keys = self.server.settings.keys
        return keys.access, keys.secret, keys.token

    def options(self, **more: Any) -> Options:
        def trust() -> ssl.SSLContext:
            return ssl.create_default_context(cafile=self.server.trusted)

        return replace(Options(workers=4, patience=QUICK, trust=trust), **more)

    def put(
        self, snapshot: str, *, encrypted: bool = False, options: Options | None = None, **more: Any
    ) -> Uploaded:
        descriptor = os.open(self.image, os.O_RDONLY)
        try:
            target = self.target(snapshot, encrypted=encrypted)
            asked = options or self.options()
            credentials = more.pop("credentials", self.credentials)
            return upload(self.blocks, descriptor, target, credentials, options=asked, **more)
        finally:
            os.close(descriptor)

    def complete(self, snapshot: str, done: Uploaded) -> None:
        self.client.complete_snapshot(
            SnapshotId=snapshot,
            ChangedBlocksCount=done.count,
            Checksum=done.checksum,
            ChecksumAlgorithm="SHA256",
            ChecksumAggregationMethod="LINEAR",
        )

    def is_the_image(self, snapshot: str) -> bool:
        """Whether the volume is the image, and zeros behind it."""
        whole = self.image.with_suffix(".back")
        self.server.snapshot(snapshot).read_back(whole)
        back = map_blocks(whole)
        padded = self.image.with_suffix(".padded")
        padded.write_bytes(self.image.read_bytes())
        os.truncate(padded, 1 << 30)
        return back == map_blocks(padded)


def client(server: EbsServer, **more: Any) -> Any:
    boto3 = pytest.importorskip("boto3")
    keys = server.settings.keys
    return boto3.client(
        "ebs",
        region_name=server.settings.region,
        endpoint_url=server.endpoint,
        verify=str(server.trusted),
        aws_access_key_id=keys.access,
        aws_secret_access_key=keys.secret,
        aws_session_token=keys.token,
        **more,
    )


@pytest.fixture
def bench(tmp_path: Path) -> Generator[Callable[..., Bench], None, None]:
    image = tmp_path / "image"
    dice = random.Random(4)  # noqa: S311 -- the same image every time
    with open(image, "wb") as file:
        file.write(dice.randbytes(3 * BLOCK) + bytes(2 * BLOCK) + dice.randbytes(BLOCK))
        file.seek(11 * BLOCK)
        file.write(dice.randbytes(4 * BLOCK - 12345))
    with ExitStack() as stack:

        def make(**settings: Any) -> Bench:
            folder = tmp_path / "account"
            folder.mkdir()
            made = Bench(stack.enter_context(EbsServer(folder, Settings(**settings))), image)
            stack.callback(made.client.close)
            return made

        yield make
