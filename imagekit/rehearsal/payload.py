"""The body of a call to S3: taken out of its chunks, and held against every checksum that came with it."""

import hashlib
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace

from imagekit.rehearsal.http import Request
from imagekit.rehearsal.query import NotDoneError
from imagekit.rehearsal.sigv4 import TRAILER

_SIZE = re.compile(rb"[0-9a-fA-F]{1,10}")
_CHECKSUMS: dict[str, Callable[[bytes], bytes]] = {
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
}
_SLOW = {"crc32c", "crc64nvme"}
_PREFIX = "x-amz-checksum-"


def decode(request: Request) -> Request:
    """Take a body out of aws-chunked; its trailers become headers."""
    stated = request.headers.get("x-amz-content-sha256", "")
    if not stated.startswith("STREAMING-"):
        return request
    if stated != TRAILER:
        raise NotDoneError("NotImplemented", f"{stated} is not a part of rehearsals", 501)
    data, trailers = _chunks(request.body)
    headers = dict(request.headers)
    named = [name.strip() for name in headers.pop("x-amz-trailer", "").lower().split(",") if name.strip()]
    if sorted(named) != sorted(trailers):
        raise NotDoneError("MalformedTrailerError", "The trailers are not those that x-amz-trailer names")
    if headers.pop("x-amz-decoded-content-length", "") != str(len(data)):
        raise NotDoneError("IncompleteBody", "The body is not as long as x-amz-decoded-content-length says")
    codings = [one.strip() for one in headers.pop("content-encoding", "").split(",")]
    if "aws-chunked" not in codings:
        raise NotDoneError("InvalidRequest", "A body in chunks has the Content-Encoding aws-chunked")
    if left := [one for one in codings if one and one != "aws-chunked"]:
        headers["content-encoding"] = ",".join(left)
    del headers["x-amz-content-sha256"]
    return replace(request, headers=headers | trailers, body=data)


def verify(request: Request) -> Request:
    """Hold the body against Content-MD5 and the checksums of its headers."""
    headers, body = request.headers, request.body
    if "content-md5" in headers:
        stated = _bytes(headers["content-md5"], 16, "InvalidDigest", "The Content-MD5 you specified was invalid.")
        if stated != hashlib.md5(body, usedforsecurity=False).digest():
            message = "The Content-MD5 you specified did not match what we received."
            raise NotDoneError("BadDigest", message)
    names = [name.removeprefix(_PREFIX) for name in headers if name.startswith(_PREFIX)]
    for name in names:
        if name in _SLOW:
            raise NotDoneError("NotImplemented", f"The checksum {name} is not a part of rehearsals", 501)
        # For a whole upload in parts, the header speaks of the parts' checksums.
        if name not in _CHECKSUMS or ("uploadId=" in request.query and request.method == "POST"):
            continue
        real = _CHECKSUMS[name](body)
        wrong = f"Value for {_PREFIX}{name} header is invalid."
        if _bytes(headers[_PREFIX + name], len(real), "InvalidRequest", wrong) != real:
            message = f"The {name.upper()} you specified did not match the calculated checksum."
            raise NotDoneError("BadDigest", message)
    stated_name = headers.get("x-amz-sdk-checksum-algorithm", "").lower()
    if names and not stated_name:
        return replace(request, headers={**headers, "x-amz-sdk-checksum-algorithm": names[0].upper()})
    if stated_name in _CHECKSUMS and _PREFIX + stated_name not in headers:
        real_text = b64encode(_CHECKSUMS[stated_name](body)).decode()
        return replace(request, headers={**headers, _PREFIX + stated_name: real_text})
    return request


def _chunks(body: bytes) -> tuple[bytes, dict[str, str]]:
    data, at = bytearray(), 0
    while True:
        end = body.find(b"\r\n", at)
        size = _SIZE.fullmatch(body[at:end].partition(b";")[0]) if end >= 0 else None
        if size is None:
            raise NotDoneError("IncompleteBody", "The body's chunks do not end")
        length = int(size[0], 16)
        at = end + 2
        if not length:
            break
        data += body[at : at + length]
        at += length
        if body[at : at + 2] != b"\r\n":
            raise NotDoneError("IncompleteBody", "A chunk is not as long as it says")
        at += 2
    trailers = {}
    for line in body[at:].decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name:
            trailers[name.strip().lower()] = value.strip()
    return bytes(data), trailers


def _bytes(text: str, length: int, code: str, message: str) -> bytes:
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        data = b""
    if len(data) != length:
        raise NotDoneError(code, message)
    return data
