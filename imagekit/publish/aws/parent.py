# ruff: noqa: ANN401 -- boto3 has no types
"""What a snapshot holds, read back by the EBS direct APIs; and which blocks of an image differ from it."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from imagekit.errors import PublishError
from imagekit.publish.aws.account import told
from imagekit.sparse import BLOCK, BlockMap

_READERS = 16
_ZERO = hashlib.sha256(bytes(BLOCK)).digest()


def read_back(ebs: Any, snapshot: str) -> dict[int, bytes]:
    """Return index and SHA-256 of each block that a snapshot holds; their bytes are fetched and hashed."""
    listed: list[tuple[int, str]] = []
    asked: dict[str, Any] = {"SnapshotId": snapshot}
    while True:
        with told(f"listing the blocks of {snapshot}"):
            page = ebs.list_snapshot_blocks(**asked)
        if page["BlockSize"] != BLOCK:
            raise PublishError(f"the blocks of {snapshot} have {page['BlockSize']} bytes, not {BLOCK}")
        listed += [(block["BlockIndex"], block["BlockToken"]) for block in page["Blocks"]]
        if not page.get("NextToken"):
            break
        asked["NextToken"] = page["NextToken"]

    def fetch(entry: tuple[int, str]) -> tuple[int, bytes]:
        index, token = entry
        with told(f"reading block {index} of {snapshot}"):
            said = ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=index, BlockToken=token)
            data = said["BlockData"].read()
        return index, hashlib.sha256(data).digest()

    with ThreadPoolExecutor(_READERS) as pool:
        return dict(pool.map(fetch, listed))


def differing(blocks: BlockMap, held: dict[int, bytes], *, encrypted: bool, gib: int) -> frozenset[int]:
    """Return the blocks to put on top of a snapshot that holds these.

    Where nothing was ever put an unencrypted snapshot reads as zeros, and an encrypted one as garbage.
    """
    ours = {index: digest for index, digest in blocks.blocks if (index + 1) * BLOCK <= blocks.length}
    short = {index for index, _ in blocks.blocks} - set(ours)  # the last block, padded when it is put
    every = range((gib << 30) // BLOCK) if encrypted else sorted(set(ours) | set(held))
    different = {
        index for index in every if held.get(index, b"" if encrypted else _ZERO) != ours.get(index, _ZERO)
    }
    return frozenset(different | short)
