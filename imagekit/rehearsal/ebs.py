"""The EBS direct APIs on loopback, over TLS, as strict as the real ones.

    with EbsServer(folder) as server:
        boto3.client("ebs", endpoint_url=server.endpoint, verify=str(server.trusted), ...)

What it checks and what of it is documented by AWS: docs/reference/ebs-direct.md.
"""

import hashlib
import hmac
import json
import re
import secrets
import time
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl

from imagekit.rehearsal.certificate import certify
from imagekit.rehearsal.faults import AFTER, Script
from imagekit.rehearsal.http import Listener, Reply, Request
from imagekit.rehearsal.rate import Allowance
from imagekit.rehearsal.sigv4 import Keys, RefusedError, check
from imagekit.rehearsal.snapshots import BLOCK, Account, Snapshot

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
_EXPIRY = 7 * 24 * 3600
_TAGS = 50


@dataclass(frozen=True)
class Settings:
    """The account, and how the service behaves: rates a second, delays in seconds."""

    keys: Keys = field(default_factory=Keys)
    region: str = "eu-west-1"
    owner: str = "123456789012"
    default_encryption: bool = False
    denied: frozenset[str] = frozenset()
    settle: float = 0.0  # after StartSnapshot a snapshot does not exist for so long
    seal: float = 0.0  # after CompleteSnapshot it is pending for so long
    minute: float = 60.0  # what a minute of Timeout takes
    latency: float = 0.0
    pending: int = 100
    put_rate: float = 1000.0
    write_rate: float = 10.0
    read_rate: float = 1000.0
    list_rate: float = 50.0
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """One call that was answered."""

    action: str
    status: int
    fault: str


class Refused(Exception):  # noqa: N818 -- an answer, not a failure of ours
    """An error answer."""

    def __init__(self, status: int, code: str, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reply = Reply(
            status,
            json.dumps({"Message": message} | ({"Reason": reason} if reason else {})).encode(),
            {"x-amzn-ErrorType": code, "Content-Type": "application/json"},
        )


def _invalid(message: str, reason: str = "INVALID_PARAMETER_VALUE") -> Refused:
    return Refused(400, "ValidationException", message, reason)


class EbsService:
    """The service in one region, without a network. Blocks go into the folder.

    A script of faults can be shared with other services; `note` hears of every call.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings | None = None,
        script: Script | None = None,
        note: Callable[[Call], object] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.account = Account(folder)
        self.calls: list[Call] = []
        self.encrypts = self.settings.default_encryption
        self._script = script or Script(self.settings.faults)
        self._note = note or self.calls.append
        self._secret = secrets.token_bytes(32)
        self._rates = {
            "StartSnapshot": Allowance(self.settings.write_rate),
            "CompleteSnapshot": Allowance(self.settings.write_rate),
            "PutSnapshotBlock": Allowance(self.settings.put_rate),
            "GetSnapshotBlock": Allowance(self.settings.read_rate),
            "ListSnapshotBlocks": Allowance(self.settings.list_rate),
            "ListChangedBlocks": Allowance(self.settings.list_rate),
        }
        self._actions: dict[str, Callable[[Request, dict[str, str]], Reply]] = {
            "StartSnapshot": self._start,
            "CompleteSnapshot": self._complete,
            "PutSnapshotBlock": self._put,
            "GetSnapshotBlock": self._get,
            "ListSnapshotBlocks": self._list,
            "ListChangedBlocks": self._changed,
        }

    def snapshot(self, name: str) -> Snapshot:
        """Return a snapshot that a test wants to look at."""
        return self.account.snapshots[name]

    @property
    def default_key(self) -> str:
        """The key that encrypts when none is named."""
        return f"arn:aws:kms:{self.settings.region}:{self.settings.owner}:key/default"

    def status(self, snapshot: Snapshot) -> str:
        """Return pending, completed or error, as of now."""
        now = time.monotonic()
        if snapshot.sealed is not None:
            if snapshot.failed and now >= snapshot.sealed + self.settings.seal:
                return "error"
            return "completed" if now >= snapshot.sealed + self.settings.seal else "pending"
        if now > snapshot.touched + snapshot.timeout * self.settings.minute:
            snapshot.failed = True
        return "error" if snapshot.failed else "pending"

    def answer(self, request: Request) -> Reply:
        """Answer one request."""
        if self.settings.latency:
            time.sleep(self.settings.latency)
        action, names = _route(request)
        fault = self._script.next(action) if action else ""
        try:
            reply = self._done(action, request, names, fault)
        except Refused as refused:
            reply = refused.reply
        except RefusedError as refused:
            reply = Refused(403, refused.code, refused.message).reply
        self._note(Call(action, reply.status, fault))
        headers = {"x-amzn-RequestId": secrets.token_hex(16), **reply.headers}
        return Reply(reply.status, reply.body, headers, fault if fault in AFTER else reply.end)

    def _done(self, action: str, request: Request, names: dict[str, str], fault: str) -> Reply:
        _fail(action, fault)
        if fault in {"reset", "hang"}:
            return Reply(0, end=fault)
        if not action:
            raise Refused(404, "UnknownOperationException", "")
        unsigned = action == "PutSnapshotBlock"
        check(request, self.settings.keys, self.settings.region, "ebs", unsigned=unsigned)
        if action in self.settings.denied:
            raise _denied(action)
        if not self._rates[action].take():
            raise _throttled(action)
        reply = self._actions[action](request, names)
        if fault == "failed" and action == "CompleteSnapshot":
            self.snapshot(names["name"]).failed = True
        return reply

    def _start(self, request: Request, _names: dict[str, str]) -> Reply:
        asked = _asked(request.body)
        token = asked.pop("ClientToken", None)
        with self.account.lock:
            if token is not None and token in self.account.tokens:
                known = self.account.tokens[token]
                if known.asked != asked:
                    raise Refused(409, "ConflictException", "The client token was used with other parameters.")
                return self._described(known)
            busy = [one for one in self.account.snapshots.values() if self.status(one) == "pending"]
            if len(busy) >= self.settings.pending:
                raise Refused(400, "ConcurrentLimitExceededException", "Too many pending snapshots.")
            parent = self._parent(asked)
            encrypted = asked.get("Encrypted", False) or self.encrypts
            own = self.default_key if encrypted else ""
            key = asked.get("KmsKeyArn") or (parent.key if parent and parent.key else own)
            made = self.account.add(asked["VolumeSize"], asked.get("Timeout", 60), asked, parent, key)
            if token is not None:
                self.account.tokens[token] = made
        return self._described(made)

    def _parent(self, asked: dict[str, Any]) -> Snapshot | None:
        if asked.get("Encrypted") is False and self.encrypts:
            raise _invalid("Encrypted cannot be false: the account encrypts by default.")
        if "ParentSnapshotId" not in asked:
            return None
        parent = self._known(asked["ParentSnapshotId"])
        if self.status(parent) != "completed":
            raise _invalid("The parent snapshot is not completed.", "INVALID_SNAPSHOT_ID")
        if parent.volume_size > asked["VolumeSize"]:
            raise _invalid("VolumeSize is smaller than the parent's.", "INVALID_VOLUME_SIZE")
        return parent

    def _described(self, snapshot: Snapshot) -> Reply:
        said: dict[str, Any] = {
            "SnapshotId": snapshot.name,
            "OwnerId": self.settings.owner,
            "Status": self.status(snapshot),
            "StartTime": snapshot.started,
            "VolumeSize": snapshot.volume_size,
            "BlockSize": BLOCK,
            "SseType": "sse-kms" if snapshot.key else "none",
        }
        said |= {name: snapshot.asked[name] for name in ("Description", "Tags") if name in snapshot.asked}
        if snapshot.parent:
            said["ParentSnapshotId"] = snapshot.parent.name
        if snapshot.key:
            said["KmsKeyArn"] = snapshot.key
        return _json(said, 201)

    def _put(self, request: Request, names: dict[str, str]) -> Reply:
        stated, digest = _checksum(request.headers)
        if request.headers.get("x-amz-data-length") != str(BLOCK):
            raise _invalid(f"x-amz-Data-Length must be {BLOCK}.")
        if len(request.body) != BLOCK:
            raise _invalid("The block's data is not as long as x-amz-Data-Length says.")
        progress = request.headers.get("x-amz-progress", "0")
        if not _NUMBER.fullmatch(progress) or int(progress) > 100:  # noqa: PLR2004 -- percent
            raise _invalid("x-amz-Progress is 0 to 100.")
        snapshot = self._writable(names["name"])
        index = _index(names["index"], snapshot)
        if hashlib.sha256(request.body).digest() != digest:
            raise _invalid("The checksum does not match the block's data.", "INVALID_BLOCK")
        snapshot.write(index, request.body, digest)
        return Reply(201, b"", {"x-amz-Checksum": stated, "x-amz-Checksum-Algorithm": "SHA256"})

    def _complete(self, request: Request, names: dict[str, str]) -> Reply:
        count = request.headers.get("x-amz-changedblockscount", "")
        if not _NUMBER.fullmatch(count):
            raise _invalid("x-amz-ChangedBlocksCount is missing or no number.")
        extra = [name for name in ("x-amz-checksum", *_AGGREGATE) if name in request.headers]
        if extra and extra != ["x-amz-checksum", *_AGGREGATE]:
            raise _invalid("Checksum, its algorithm and its aggregation method come together.")
        if extra:
            _checksum(request.headers)
            if request.headers["x-amz-checksum-aggregation-method"] != "LINEAR":
                raise _invalid("The aggregation method is LINEAR.")
        snapshot = self._writable(names["name"], sealed=True)
        if int(count) != len(snapshot.digests):
            raise _invalid("ChangedBlocksCount is not the number of blocks that were put.")
        if extra and request.headers["x-amz-checksum"] != snapshot.linear():
            raise _invalid("The checksum does not match that of the blocks that were put.")
        if snapshot.sealed is None:
            snapshot.sealed = time.monotonic()
        return _json({"Status": self.status(snapshot)}, 202)

    def _get(self, request: Request, names: dict[str, str]) -> Reply:
        snapshot = self._readable(names["name"])
        index = _index(names["index"], snapshot)
        token = dict(parse_qsl(request.query)).get("blockToken", "")
        data = snapshot.read(index)
        if data is None or not hmac.compare_digest(token.encode(), self._token(snapshot, index).encode()):
            raise _invalid("The block token is invalid.", "INVALID_BLOCK_TOKEN")
        headers = {
            "x-amz-Data-Length": str(len(data)),
            "x-amz-Checksum": b64encode(hashlib.sha256(data).digest()).decode(),
            "x-amz-Checksum-Algorithm": "SHA256",
            "Content-Type": "application/octet-stream",
        }
        return Reply(200, data, headers)

    def _list(self, request: Request, names: dict[str, str]) -> Reply:
        snapshot = self._readable(names["name"])
        page, following = _page(sorted(snapshot.all_digests()), request.query)
        found = [{"BlockIndex": index, "BlockToken": self._token(snapshot, index)} for index in page]
        return _listed(snapshot, "Blocks", found, following)

    def _changed(self, request: Request, names: dict[str, str]) -> Reply:
        second = self._readable(names["name"])
        new = second.all_digests()
        old: dict[int, bytes] = {}
        first = None
        if name := dict(parse_qsl(request.query)).get("firstSnapshotId"):
            first = self._readable(name)
            if _oldest(first) is not _oldest(second):
                raise _invalid("The snapshots are not of one volume.", "UNRELATED_SNAPSHOTS")
            old = first.all_digests()
        differ = sorted(index for index in old.keys() | new.keys() if old.get(index) != new.get(index))
        page, following = _page(differ, request.query)
        found = []
        for index in page:
            one: dict[str, Any] = {"BlockIndex": index}
            if first is not None and index in old:
                one["FirstBlockToken"] = self._token(first, index)
            if index in new:
                one["SecondBlockToken"] = self._token(second, index)
            found.append(one)
        return _listed(second, "ChangedBlocks", found, following)

    def _known(self, name: str) -> Snapshot:
        if not _SNAPSHOT.fullmatch(name):
            raise _invalid(f"The snapshot ID '{name[:64]}' is malformed.", "INVALID_SNAPSHOT_ID")
        known = self.account.snapshots.get(name)
        if known is None or time.monotonic() < known.born + self.settings.settle:
            message = f"The snapshot '{name}' does not exist."
            raise Refused(404, "ResourceNotFoundException", message, "SNAPSHOT_NOT_FOUND")
        return known

    def _writable(self, name: str, *, sealed: bool = False) -> Snapshot:
        known = self._known(name)
        if self.status(known) == "error" or (known.sealed is not None and not sealed):
            raise _invalid("The snapshot is not in the pending state.", "INVALID_SNAPSHOT_ID")
        return known

    def _readable(self, name: str) -> Snapshot:
        known = self._known(name)
        if self.status(known) != "completed":
            raise _invalid("The snapshot is not in the completed state.", "INVALID_SNAPSHOT_ID")
        return known

    def _token(self, snapshot: Snapshot, index: int) -> str:
        return b64encode(hmac.digest(self._secret, f"{snapshot.name}/{index}".encode(), "sha256")).decode()


class EbsServer(EbsService):
    """The service on loopback. Blocks and the certificate go into the folder."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        super().__init__(folder, settings)
        context, self.trusted = certify(folder)
        self._listener = Listener(context, self.answer)
        self.endpoint = f"https://127.0.0.1:{self._listener.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many were ever opened."""
        return self._listener.connections

    def close(self) -> None:
        """Stop serving; the blocks stay."""
        self._listener.close()


_AGGREGATE = ("x-amz-checksum-algorithm", "x-amz-checksum-aggregation-method")


def _route(request: Request) -> tuple[str, dict[str, str]]:
    for action, method, path in _ROUTES:
        found = path.fullmatch(request.path)
        if found and method == request.method:
            return action, found.groupdict()
    return "", {}


def _fail(action: str, fault: str) -> None:
    if fault == "500":
        raise Refused(500, "InternalServerException", "An internal error has occurred")
    if fault == "503":
        raise Refused(503, "ServiceUnavailable", "Service is unable to handle request")
    if fault == "throttle":
        raise _throttled(action)
    if fault == "denied":
        raise _denied(action)


def _denied(action: str) -> Refused:
    message = f"User is not authorized to perform: ebs:{action}"
    return Refused(403, "AccessDeniedException", message, "UNAUTHORIZED_ACCOUNT")


def _throttled(action: str) -> Refused:
    if action in {"PutSnapshotBlock", "GetSnapshotBlock"}:
        message = "The request rate for the snapshot is too high."
        return Refused(400, "RequestThrottledException", message, "RESOURCE_LEVEL_THROTTLE")
    return Refused(400, "ThrottlingException", "Rate exceeded")


def _json(said: dict[str, Any], status: int = 200) -> Reply:
    return Reply(status, json.dumps(said).encode(), {"Content-Type": "application/json"})


def _listed(snapshot: Snapshot, name: str, found: list[dict[str, Any]], following: str) -> Reply:
    said = {
        name: found,
        "BlockSize": BLOCK,
        "VolumeSize": snapshot.volume_size,
        "ExpiryTime": time.time() + _EXPIRY,
    }
    return _json(said | ({"NextToken": following} if following else {}))


def _oldest(snapshot: Snapshot) -> Snapshot:
    while snapshot.parent:
        snapshot = snapshot.parent
    return snapshot


def _index(text: str, snapshot: Snapshot) -> int:
    if not _NUMBER.fullmatch(text) or int(text) >= snapshot.size:
        raise _invalid("The block index is outside of the volume.", "INVALID_BLOCK")
    return int(text)


def _checksum(headers: dict[str, str]) -> tuple[str, bytes]:
    stated = headers.get("x-amz-checksum", "")
    if headers.get("x-amz-checksum-algorithm") != "SHA256":
        raise _invalid("The checksum algorithm is SHA256.")
    try:
        digest = b64decode(stated, validate=True)
    except NotBase64:
        digest = b""
    if len(digest) != 32:  # noqa: PLR2004 -- SHA-256
        raise _invalid("The checksum is no base64 of a SHA-256.")
    return stated, digest


def _page(indexes: Iterable[int], query: str) -> tuple[list[int], str]:
    asked = dict(parse_qsl(query))
    size = asked.get("maxResults", "10000")
    start = asked.get("startingBlockIndex", "0")
    if not _NUMBER.fullmatch(size) or int(size) not in _PAGES or not _NUMBER.fullmatch(start):
        raise _invalid("MaxResults is 100 to 10000, StartingBlockIndex a number.")
    if "pageToken" in asked:
        try:
            start = b64decode(asked["pageToken"], validate=True).decode()
        except ValueError:
            start = ""
        if not _NUMBER.fullmatch(start):
            raise _invalid("The page token is invalid.", "INVALID_PAGE_TOKEN")
    left = [index for index in indexes if index >= int(start)]
    page, rest = left[: int(size)], left[int(size) :]
    return page, b64encode(str(rest[0]).encode()).decode() if rest else ""


def _asked(body: bytes) -> dict[str, Any]:
    """Read the parameters of StartSnapshot, or refuse them."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "SerializationException", "The body is no JSON.") from None
    if not isinstance(asked, dict) or not set(asked) <= _STARTS:
        raise Refused(400, "SerializationException", "The body holds what StartSnapshot does not know.")
    size, timeout = asked.get("VolumeSize"), asked.get("Timeout", 60)
    if type(size) is not int or not 1 <= size <= _LARGEST:
        raise _invalid("VolumeSize is 1 to 65536 GiB.", "INVALID_VOLUME_SIZE")
    if type(timeout) is not int or timeout not in _TIMEOUTS:
        raise _invalid("Timeout is 10 to 4320 minutes.")
    _check_texts(asked)
    if "Encrypted" in asked and not isinstance(asked["Encrypted"], bool):
        raise _invalid("Encrypted is true or false.")
    if "ParentSnapshotId" in asked and "Encrypted" in asked:
        raise _invalid("ParentSnapshotId and Encrypted exclude each other.")
    if "KmsKeyArn" in asked and not asked.get("Encrypted"):
        raise _invalid("KmsKeyArn wants Encrypted.", "INVALID_CUSTOMER_KEY")
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
            raise _invalid(f"{name} is malformed.", reason)
    tags = asked.get("Tags", [])
    if not isinstance(tags, list) or len(tags) > _TAGS or not all(map(_is_tag, tags)):
        raise _invalid("A tag is malformed, or there are more than 50.", "INVALID_TAG")
    if len({tag["Key"] for tag in tags}) != len(tags):
        raise _invalid("A tag's key is there twice.", "INVALID_TAG")


def _is_tag(tag: object) -> bool:
    if not isinstance(tag, dict) or set(tag) != {"Key", "Value"}:
        return False
    key, value = tag["Key"], tag["Value"]
    return isinstance(key, str) and isinstance(value, str) and 1 <= len(key) <= 127 and len(value) <= 255  # noqa: PLR2004
