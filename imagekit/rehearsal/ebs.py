"""The EBS direct APIs on loopback, over TLS, as strict as the real ones.

    with EbsServer(folder) as server:
        boto3.client("ebs", endpoint_url=server.endpoint, verify=str(server.trusted), ...)

What it checks and what of it is documented by AWS: docs/reference/ebs-direct.md.
"""

import hashlib
import hmac
import secrets
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl

from imagekit.rehearsal.certificate import certify
from imagekit.rehearsal.ebs_answer import Refused, as_json, denied, fail, invalid, listed, throttled
from imagekit.rehearsal.ebs_request import block, block_index, check_id, completion, page, route, start_parameters
from imagekit.rehearsal.faults import AFTER, Script
from imagekit.rehearsal.http import Listener, Reply, Request
from imagekit.rehearsal.rate import Allowance
from imagekit.rehearsal.sigv4 import Keys, RefusedError, check
from imagekit.rehearsal.snapshots import BLOCK, Account, Snapshot


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
        action, names = route(request)
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
        fail(action, fault)
        if fault in {"reset", "hang"}:
            return Reply(0, end=fault)
        if not action:
            raise Refused(404, "UnknownOperationException", "")
        unsigned = action == "PutSnapshotBlock"
        check(request, self.settings.keys, self.settings.region, "ebs", unsigned=unsigned)
        if action in self.settings.denied:
            raise denied(action)
        if not self._rates[action].take():
            raise throttled(action)
        reply = self._actions[action](request, names)
        if fault == "failed" and action == "CompleteSnapshot":
            self.snapshot(names["name"]).failed = True
        return reply

    def _start(self, request: Request, _names: dict[str, str]) -> Reply:
        asked = start_parameters(request.body)
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
            raise invalid("Encrypted cannot be false: the account encrypts by default.")
        if "ParentSnapshotId" not in asked:
            return None
        parent = self._known(asked["ParentSnapshotId"])
        if self.status(parent) != "completed":
            raise invalid("The parent snapshot is not completed.", "INVALID_SNAPSHOT_ID")
        if parent.volume_size > asked["VolumeSize"]:
            raise invalid("VolumeSize is smaller than the parent's.", "INVALID_VOLUME_SIZE")
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
        return as_json(said, 201)

    def _put(self, request: Request, names: dict[str, str]) -> Reply:
        stated, digest = block(request)
        snapshot = self._writable(names["name"])
        index = block_index(names["index"], snapshot)
        if hashlib.sha256(request.body).digest() != digest:
            raise invalid("The checksum does not match the block's data.", "INVALID_BLOCK")
        snapshot.write(index, request.body, digest)
        return Reply(201, b"", {"x-amz-Checksum": stated, "x-amz-Checksum-Algorithm": "SHA256"})

    def _complete(self, request: Request, names: dict[str, str]) -> Reply:
        count, whole = completion(request.headers)
        snapshot = self._writable(names["name"], sealed=True)
        if count != len(snapshot.digests):
            raise invalid("ChangedBlocksCount is not the number of blocks that were put.")
        if whole and whole != snapshot.linear():
            raise invalid("The checksum does not match that of the blocks that were put.")
        if snapshot.sealed is None:
            snapshot.sealed = time.monotonic()
        return as_json({"Status": self.status(snapshot)}, 202)

    def _get(self, request: Request, names: dict[str, str]) -> Reply:
        snapshot = self._readable(names["name"])
        index = block_index(names["index"], snapshot)
        token = dict(parse_qsl(request.query)).get("blockToken", "")
        data = snapshot.read(index)
        if data is None or not hmac.compare_digest(token.encode(), self._token(snapshot, index).encode()):
            raise invalid("The block token is invalid.", "INVALID_BLOCK_TOKEN")
        headers = {
            "x-amz-Data-Length": str(len(data)),
            "x-amz-Checksum": b64encode(hashlib.sha256(data).digest()).decode(),
            "x-amz-Checksum-Algorithm": "SHA256",
            "Content-Type": "application/octet-stream",
        }
        return Reply(200, data, headers)

    def _list(self, request: Request, names: dict[str, str]) -> Reply:
        snapshot = self._readable(names["name"])
        shown, following = page(sorted(snapshot.all_digests()), request.query)
        found = [{"BlockIndex": index, "BlockToken": self._token(snapshot, index)} for index in shown]
        return listed(snapshot, "Blocks", found, following)

    def _changed(self, request: Request, names: dict[str, str]) -> Reply:
        second = self._readable(names["name"])
        new = second.all_digests()
        old: dict[int, bytes] = {}
        first = None
        if name := dict(parse_qsl(request.query)).get("firstSnapshotId"):
            first = self._readable(name)
            if _oldest(first) is not _oldest(second):
                raise invalid("The snapshots are not of one volume.", "UNRELATED_SNAPSHOTS")
            old = first.all_digests()
        differ = sorted(index for index in old.keys() | new.keys() if old.get(index) != new.get(index))
        shown, following = page(differ, request.query)
        found = []
        for index in shown:
            one: dict[str, Any] = {"BlockIndex": index}
            if first is not None and index in old:
                one["FirstBlockToken"] = self._token(first, index)
            if index in new:
                one["SecondBlockToken"] = self._token(second, index)
            found.append(one)
        return listed(second, "ChangedBlocks", found, following)

    def _known(self, name: str) -> Snapshot:
        check_id(name)
        known = self.account.snapshots.get(name)
        if known is None or time.monotonic() < known.born + self.settings.settle:
            message = f"The snapshot '{name}' does not exist."
            raise Refused(404, "ResourceNotFoundException", message, "SNAPSHOT_NOT_FOUND")
        return known

    def _writable(self, name: str, *, sealed: bool = False) -> Snapshot:
        known = self._known(name)
        if self.status(known) == "error" or (known.sealed is not None and not sealed):
            raise invalid("The snapshot is not in the pending state.", "INVALID_SNAPSHOT_ID")
        return known

    def _readable(self, name: str) -> Snapshot:
        known = self._known(name)
        if self.status(known) != "completed":
            raise invalid("The snapshot is not in the completed state.", "INVALID_SNAPSHOT_ID")
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


def _oldest(snapshot: Snapshot) -> Snapshot:
    while snapshot.parent:
        snapshot = snapshot.parent
    return snapshot
