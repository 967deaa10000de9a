"""One upload of a file's blocks to a sink, as a process of its own: put.py HOW FILE PORT CERTIFICATE WORKERS.

HOW is `imagekit` (the fast path), `loop` (boto3's own call on as many threads, its client as it comes: a pool of
10 connections) or `boto3` (the same with a pool for all). Prints seconds and CPU seconds.
"""

import os
import ssl
import sys
import time
from pathlib import Path

import boto3
from botocore.config import Config

from imagekit.publish.aws import blocks, sdk_put, upload
from imagekit.sparse import map_blocks


def main() -> None:
    """Upload once."""
    how, path, port, certificate, workers = sys.argv[1:]
    url = f"https://127.0.0.1:{port}"
    found = map_blocks(Path(path))
    target = blocks.Target(url, "eu-west-1", "snap-0123456789abcdef0", 64, encrypted=False)
    options = upload.Options(
        workers=int(workers), quota=1e6, trust=lambda: ssl.create_default_context(cafile=certificate)
    )
    client = boto3.client(
        "ebs",
        region_name="eu-west-1",
        endpoint_url=url,
        verify=certificate,
        aws_access_key_id="AKID",
        aws_secret_access_key="secret",  # noqa: S106 -- the sink checks none
        config=None if how == "loop" else Config(max_pool_connections=int(workers)),
    )
    descriptor = os.open(path, os.O_RDONLY)
    began, cpu = time.monotonic(), time.process_time()
    if how != "imagekit":
        sdk_put.upload(found, descriptor, target, client, options=options)
    else:
        upload.upload(found, descriptor, target, lambda: ("AKID", "secret", None), options=options)
    print(time.monotonic() - began, time.process_time() - cpu, len(found.blocks))


if __name__ == "__main__":
    main()
