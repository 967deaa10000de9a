"""A rehearsed AWS account: EC2, EBS, S3 and STS behind one address on loopback, over TLS.

    with Rehearsal(folder) as account:
        boto3.client("ec2", endpoint_url=account.url, verify=str(account.trusted), ...)

One address serves all: the scope of a request's signature says which service in which region it is for. What is
checked, and what of it is AWS's own: docs/reference/rehearsal.md.
"""

import json
import secrets
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Lock
from typing import ClassVar, Protocol, Self

from imagekit.errors import ToolError, UsageError
from imagekit.rehearsal.certificate import certify
from imagekit.rehearsal.cloud import Cloud, Image
from imagekit.rehearsal.ebs import Call
from imagekit.rehearsal.ec2 import Ec2, Sts
from imagekit.rehearsal.faults import AFTER, Script
from imagekit.rehearsal.http import Listener, Reply, Request
from imagekit.rehearsal.kernels import kernels
from imagekit.rehearsal.query import NotDoneError
from imagekit.rehearsal.s3 import BUCKET_NAME, S3
from imagekit.rehearsal.settings import AccountSettings
from imagekit.rehearsal.sigv4 import RefusedError, Scope, check
from imagekit.rehearsal.snapshots import Snapshot

_LARGEST = 256 * 1024 * 1024


@dataclass(frozen=True)
class Logged:
    """One call that was answered."""

    time: float
    service: str
    region: str
    action: str
    status: int
    fault: str


class Service(Protocol):
    """What stands behind the address: EC2, S3, STS."""

    failures: ClassVar[dict[str, tuple[int, str, str]]]
    signature: ClassVar[dict[str, tuple[int, str]]]

    def action(self, request: Request) -> str:
        """Return the name of what a request asks for."""

    def refuse(self, status: int, code: str, message: str) -> Reply:
        """Return an error as the service says it."""

    def perform(self, request: Request, region: str, action: str, fault: str) -> Reply:
        """Do what is asked for."""


class Rehearsal:
    """The account. Blocks, the certificate and the log of calls go into the folder."""

    def __init__(self, folder: Path, settings: AccountSettings | None = None) -> None:
        self.settings = settings or AccountSettings()
        self.calls: list[Logged] = []
        self._lock = Lock()
        script = _script(self.settings)
        try:
            from imagekit.rehearsal.warehouse import Warehouse  # noqa: PLC0415

            self._warehouse = Warehouse()
            context, self.trusted = certify(folder)
        except ImportError as error:
            raise ToolError(
                f"a rehearsal needs {error.name}", hint="pip install 'imagekit[rehearse]' brings all it needs"
            ) from error
        self._script = script
        store = S3(self._warehouse)
        self._cloud = Cloud(folder, self.settings, store, kernels, script, self._ebs_note)
        self._services: dict[str, Service] = {
            "ec2": Ec2(self._cloud),
            "s3": store,
            "sts": Sts(self.settings.owner),
        }
        for one in self.settings.buckets:
            name, _, region = one.partition("@")
            store.create(name, region or self.settings.regions[0])
        self.log = folder / "calls.jsonl"
        self._file = open(self.log, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 -- until close
        self._listener = Listener(context, self._answer, _LARGEST)
        self.url = f"https://127.0.0.1:{self._listener.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving; the folder stays."""
        self._listener.close()
        self._warehouse.close()
        self._file.close()

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which any AWS client finds the account, and nothing but it."""
        keys = self.settings.keys
        given = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_CA_BUNDLE": str(self.trusted),
            "AWS_ACCESS_KEY_ID": keys.access,
            "AWS_SECRET_ACCESS_KEY": keys.secret,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        return given | ({"AWS_SESSION_TOKEN": keys.token} if keys.token else {})

    @property
    def connections(self) -> int:
        """How many were ever opened."""
        return self._listener.connections

    def images(self, region: str) -> list[Image]:
        """Return the account's images in a region, in any state."""
        return list(self._cloud.regions[region].images.values())

    def snapshots(self, region: str) -> list[Snapshot]:
        """Return the account's snapshots in a region, in any state."""
        return list(self._cloud.regions[region].ebs.account.snapshots.values())

    def status(self, region: str, snapshot: Snapshot) -> str:
        """Return pending, completed or error, as of now."""
        return self._cloud.regions[region].ebs.status(snapshot)

    def stored(self, bucket: str, key: str) -> bytes | None:
        """Return an object, None when there is none."""
        return self._warehouse.data(bucket, key)

    def _answer(self, request: Request) -> Reply:
        if self.settings.latency:
            time.sleep(self.settings.latency)
        scope = Scope.of(request)
        region = scope.region if scope else ""
        if scope and scope.service == "ebs":
            known = region if region in self._cloud.regions else self.settings.regions[0]
            return self._cloud.regions[known].ebs.answer(request)
        name = scope.service if scope and scope.service in self._services else "s3"
        service = self._services[name]
        action = service.action(request)
        fault = self._script.next(action) if action else ""
        reply = self._done(name, region, request, action, fault)
        self._note(Logged(time.time(), name, region, action, reply.status, fault))
        headers = {"x-amz-request-id": secrets.token_hex(8), **reply.headers}
        return replace(reply, headers=headers, end=fault if fault in AFTER else reply.end)

    def _done(self, name: str, region: str, request: Request, action: str, fault: str) -> Reply:
        service = self._services[name]
        if fault in {"reset", "hang"}:
            return Reply(0, end=fault)
        if fault in service.failures:
            return service.refuse(*service.failures[fault])
        known = region in self._cloud.regions or name == "sts"
        try:
            # With a region that the account does not have, the scope is a wrong one.
            check(request, self.settings.keys, region if known else "", name, unsigned=name == "s3")
            if action in self.settings.denied:
                return service.refuse(*service.failures["denied"])
            return service.perform(request, region, action, fault)
        except RefusedError as refused:
            status, code = service.signature[refused.code]
            return service.refuse(status, code, refused.message)
        except NotDoneError as refused:
            return service.refuse(refused.status, refused.code, refused.message)

    def _ebs_note(self, region: str, call: Call) -> None:
        self._note(Logged(time.time(), "ebs", region, call.action, call.status, call.fault))

    def _note(self, call: Logged) -> None:
        with self._lock:
            self.calls.append(call)
            if not self._file.closed:
                self._file.write(json.dumps(asdict(call)) + "\n")


def _script(settings: AccountSettings) -> Script:
    for one in settings.buckets:
        name, _, region = one.partition("@")
        if not BUCKET_NAME.fullmatch(name) or (region and region not in settings.regions):
            raise UsageError(f"no bucket can be {one!r}", hint="NAME@REGION, in a region of the account")
    if not settings.regions:
        raise UsageError("an account has at least one region")
    try:
        return Script(settings.faults)
    except ValueError as error:
        raise UsageError(str(error)) from error
