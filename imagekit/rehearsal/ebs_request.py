"""Requests to the EBS direct APIs: which action one is, and its parameters, read or refused."""

import json
import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from imagekit.rehearsal.ebs_answer import Refused, invalid
from imagekit.rehearsal.http import Request
from imagekit.rehearsal.snapshots import BLOCK, Snapshot

_NAME = r"(?P<name>[^/]+)"
_ROUTES = (
    ("StartSnapshot", "POST", re.compile(r"/snapshots")),
    ("CompleteSnapshot", "POST", re.compile(rf"/snapshots/completion/{_NAME}")),
    ("PutSnapshotBlock", "PUT", re.compile(rf"/snapshots/{_NAME}/blocks/(?P<index>[^/]+)")),
    ("GetSnapshotBlock", "GET", re.compile(rf"/snapshots/{_NAME}/blocks/(?P<index>[^/]+)")),
    ("ListSnapshotBlocks", "GET", re.compile(rf"/snapshots/{_NAME}/blocks")),
    ("ListChangedBlocks", "GET", re.compile(rf"/snapshots/{_NAME}/changedblocks")),
)
_SNAPSHOT = re.compile(r"snap-[0-9a-f]{1,59}")
_NUMBER = re.compile(r"[0-9]{1,10}")
_KEY = re.compile(r"arn:aws[a-z-]*:kms:.*:[0-9]{12}:key/.*")
_TOKEN = re.compile(r"[!-~]{1,64}")
_STARTS = {
    "VolumeSize",
    "ParentSnapshotId",
    "Tags",
    "Description",
    "ClientToken",
    "Encrypted",
    "KmsKeyArn",
    "Timeout",
}
_LARGEST = 65536
_TIMEOUTS = range(10, 4321)
_PAGES = range(100, 10001)
_TAGS = 50
_AGGREGATE = ("x-amz-checksum-algorithm", "x-amz-checksum-aggregation-method")


def route(request: Request) -> tuple[str, dict[str, str]]:
    """Return the action of a request, and what its path names; an empty action for none."""
    for action, method, path in _ROUTES:
        found = path.fullmatch(request.path)
        if found and method == request.method:
            return action, found.groupdict()
    return "", {}


def block_index(text: str, snapshot: Snapshot) -> int:
    """Read the index of a block within the volume."""
    if not _NUMBER.fullmatch(text) or int(text) >= snapshot.size:
        raise invalid("The block index is outside of the volume.", "INVALID_BLOCK")
    return int(text)


def _checksum(headers: dict[str, str]) -> tuple[str, bytes]:
    """Read the checksum of a block, or of all: as it was stated, and its bytes."""
    stated = headers.get("x-amz-checksum", "")
    if headers.get("x-amz-checksum-algorithm") != "SHA256":
        raise invalid("The checksum algorithm is SHA256.")
    try:
        digest = b64decode(stated, validate=True)
    except NotBase64:
        digest = b""
    if len(digest) != 32:  # noqa: PLR2004 -- SHA-256
        raise invalid("The checksum is no base64 of a SHA-256.")
    return stated, digest


def page(indexes: Iterable[int], query: str) -> tuple[list[int], str]:
    """Return the indexes of the page that a query asks for, and the token of the next."""
    asked = dict(parse_qsl(query))
    size = asked.get("maxResults", "10000")
    start = asked.get("startingBlockIndex", "0")
    if not _NUMBER.fullmatch(size) or int(size) not in _PAGES or not _NUMBER.fullmatch(start):
        raise invalid("MaxResults is 100 to 10000, StartingBlockIndex a number.")
    if "pageToken" in asked:
        try:
            start = b64decode(asked["pageToken"], validate=True).decode()
        except ValueError:
            start = ""
        if not _NUMBER.fullmatch(start):
            raise invalid("The page token is invalid.", "INVALID_PAGE_TOKEN")
    left = [index for index in indexes if index >= int(start)]
    shown, rest = left[: int(size)], left[int(size) :]
    return shown, b64encode(str(rest[0]).encode()).decode() if rest else ""


def start_parameters(body: bytes) -> dict[str, Any]:
    """Read the parameters of StartSnapshot, or refuse them."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "SerializationException", "The body is no JSON.") from None
    if not isinstance(asked, dict) or not set(asked) <= _STARTS:
        raise Refused(400, "SerializationException", "The body holds what StartSnapshot does not know.")
    size, timeout = asked.get("VolumeSize"), asked.get("Timeout", 60)
    if type(size) is not int or not 1 <= size <= _LARGEST:
        raise invalid("VolumeSize is 1 to 65536 GiB.", "INVALID_VOLUME_SIZE")
    if type(timeout) is not int or timeout not in _TIMEOUTS:
        raise invalid("Timeout is 10 to 4320 minutes.")
    _check_texts(asked)
    if "Encrypted" in asked and not isinstance(asked["Encrypted"], bool):
        raise invalid("Encrypted is true or false.")
    if "ParentSnapshotId" in asked and "Encrypted" in asked:
        raise invalid("ParentSnapshotId and Encrypted exclude each other.")
    if "KmsKeyArn" in asked and not asked.get("Encrypted"):
        raise invalid("KmsKeyArn wants Encrypted.", "INVALID_CUSTOMER_KEY")
    return asked


def _check_texts(asked: dict[str, Any]) -> None:
    rules = {
        "ParentSnapshotId": (_SNAPSHOT, "INVALID_SNAPSHOT_ID"),
        "ClientToken": (_TOKEN, "INVALID_PARAMETER_VALUE"),
        "KmsKeyArn": (_KEY, "INVALID_CUSTOMER_KEY"),
        "Description": (re.compile(r"[\S\s]{1,255}"), "INVALID_PARAMETER_VALUE"),
    }
    for name, (rule, reason) in rules.items():
        if name in asked and not (isinstance(asked[name], str) and rule.fullmatch(asked[name])):
            raise invalid(f"{name} is malformed.", reason)
    tags = asked.get("Tags", [])
    if not isinstance(tags, list) or len(tags) > _TAGS or not all(map(_is_tag, tags)):
        raise invalid("A tag is malformed, or there are more than 50.", "INVALID_TAG")
    if len({tag["Key"] for tag in tags}) != len(tags):
        raise invalid("A tag's key is there twice.", "INVALID_TAG")


def _is_tag(tag: object) -> bool:
    if not isinstance(tag, dict) or set(tag) != {"Key", "Value"}:
        return False
    key, value = tag["Key"], tag["Value"]
    return isinstance(key, str) and isinstance(value, str) and 1 <= len(key) <= 127 and len(value) <= 255  # noqa: PLR2004


def check_id(name: str) -> None:
    """Refuse what is no id of a snapshot."""
    if not _SNAPSHOT.fullmatch(name):
        raise invalid(f"The snapshot ID '{name[:64]}' is malformed.", "INVALID_SNAPSHOT_ID")


def block(request: Request) -> tuple[str, bytes]:
    """Read what PutSnapshotBlock says of its block: the checksum as it was stated, and its bytes."""
    stated, digest = _checksum(request.headers)
    if request.headers.get("x-amz-data-length") != str(BLOCK):
        raise invalid(f"x-amz-Data-Length must be {BLOCK}.")
    if len(request.body) != BLOCK:
        raise invalid("The block's data is not as long as x-amz-Data-Length says.")
    progress = request.headers.get("x-amz-progress", "0")
    if not _NUMBER.fullmatch(progress) or int(progress) > 100:  # noqa: PLR2004 -- percent
        raise invalid("x-amz-Progress is 0 to 100.")
    return stated, digest


def completion(headers: dict[str, str]) -> tuple[int, str]:
    """Read what CompleteSnapshot says of all blocks: how many, and their LINEAR checksum, "" for none."""
    count = headers.get("x-amz-changedblockscount", "")
    if not _NUMBER.fullmatch(count):
        raise invalid("x-amz-ChangedBlocksCount is missing or no number.")
    extra = [name for name in ("x-amz-checksum", *_AGGREGATE) if name in headers]
    if extra and extra != ["x-amz-checksum", *_AGGREGATE]:
        raise invalid("Checksum, its algorithm and its aggregation method come together.")
    if not extra:
        return int(count), ""
    stated, _ = _checksum(headers)
    if headers["x-amz-checksum-aggregation-method"] != "LINEAR":
        raise invalid("The aggregation method is LINEAR.")
    return int(count), stated
