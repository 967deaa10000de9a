# ruff: noqa: ANN401 -- boto3 has no types
"""The block put by boto3's own call (`--uploader boto3`): slower, and a second opinion on the fast path."""

import hashlib
from base64 import b64encode
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from imagekit.errors import PublishError
from imagekit.publish.aws.account import told
from imagekit.publish.aws.blocks import Target, Uploaded, digests, read_block, wanted
from imagekit.publish.aws.upload import Options
from imagekit.sparse import BLOCK, BlockMap


def upload(
    blocks: BlockMap,
    descriptor: int,
    target: Target,
    ebs: Any,
    *,
    already: Collection[int] = (),
    only: Collection[int] | None = None,
    options: Options,
) -> Uploaded:
    """Put the blocks of the file behind a descriptor that are not `already` there, as `upload.upload` does."""
    plan = wanted(blocks, target, only)
    there = set(already)
    if not there <= {index for index, _ in plan}:
        raise PublishError("the snapshot already holds blocks that this image does not have")
    missing = [index for index, _ in plan if index not in there]

    def put(index: int) -> int:
        data = read_block(descriptor, blocks.length, index)
        with told(f"putting block {index} of {target.snapshot}"):
            ebs.put_snapshot_block(
                SnapshotId=target.snapshot,
                BlockIndex=index,
                BlockData=data,
                DataLength=BLOCK,
                Checksum=b64encode(hashlib.sha256(data).digest()).decode(),
                ChecksumAlgorithm="SHA256",
            )
        return index

    with ThreadPoolExecutor(options.workers) as pool:
        try:
            for future in as_completed([pool.submit(put, index) for index in missing]):
                options.done(future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Uploaded(len(plan), b64encode(digests(descriptor, blocks.length, plan)).decode(), len(missing))
