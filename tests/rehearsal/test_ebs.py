# ruff: noqa: ANN401 -- boto3 has no types
"""The strict server by boto3's own client: what it does right, and what it refuses."""

import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Generator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.rehearsal.ebs import EbsServer, Settings
from imagekit.rehearsal.faults import Fault, Script
from imagekit.rehearsal.snapshots import BLOCK

boto3 = pytest.importorskip("boto3")
config = pytest.importorskip("botocore.config")
errors = pytest.importorskip("botocore.exceptions")
pytest.importorskip("cryptography")

A, B, ZERO = b"a" * BLOCK, b"b" * BLOCK, bytes(BLOCK)
Make = Callable[..., "Account"]


def base64_of(*data: bytes) -> str:
    return b64encode(sha256(b"".join(data)).digest()).decode()


def linear(*data: bytes) -> dict[str, str]:
    whole = base64_of(*(sha256(one).digest() for one in data))
    return {"Checksum": whole, "ChecksumAlgorithm": "SHA256", "ChecksumAggregationMethod": "LINEAR"}


class Account:
    def __init__(self, server: EbsServer) -> None:
        self.server = server
        self.client = self.other()

    def other(self, **more: Any) -> Any:
        keys = self.server.settings.keys
        asked = {
            "aws_access_key_id": keys.access,
            "aws_secret_access_key": keys.secret,
            "region_name": "eu-west-1",
        }
        once = config.Config(retries={"total_max_attempts": 1}, read_timeout=2)
        verify = str(self.server.trusted)
        given = {"aws_session_token": keys.token, "config": once, **asked, **more}
        return boto3.client("ebs", endpoint_url=self.server.endpoint, verify=verify, **given)

    def start(self, **more: Any) -> str:
        return str(self.client.start_snapshot(**{"VolumeSize": 1, **more})["SnapshotId"])

    def put(self, snapshot: str, index: int, data: bytes, **more: Any) -> Any:
        stated = {"DataLength": len(data), "Checksum": base64_of(data), "ChecksumAlgorithm": "SHA256", **more}
        return self.client.put_snapshot_block(SnapshotId=snapshot, BlockIndex=index, BlockData=data, **stated)

    def complete(self, snapshot: str, count: int, **more: Any) -> str:
        said = self.client.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=count, **more)
        return str(said["Status"])

    def whole(self, blocks: dict[int, bytes], **more: Any) -> str:
        snapshot = self.start(**more)
        for index, data in blocks.items():
            self.put(snapshot, index, data)
        self.complete(snapshot, len(blocks))
        return snapshot


@pytest.fixture
def account(tmp_path: Path) -> Generator[Make, None, None]:
    with ExitStack() as stack:

        def make(**settings: Any) -> Account:
            made = Account(stack.enter_context(EbsServer(tmp_path, Settings(**settings))))
            stack.callback(made.client.close)
            return made

        yield make


def refused(code: str, reason: str | None, call: Callable[..., Any], *args: Any, **more: Any) -> None:
    with pytest.raises(errors.ClientError) as caught:
        call(*args, **more)
    assert caught.value.response["Error"]["Code"] == code
    assert reason is None or caught.value.response["Reason"] == reason


def test_written_and_read_back(account: Make, tmp_path: Path) -> None:
    here = account()
    snapshot = here.start(Description="d", Tags=[{"Key": "k", "Value": "v"}])
    here.put(snapshot, 2047, B)
    assert here.put(snapshot, 3, A)["Checksum"] == base64_of(A)
    assert here.complete(snapshot, 2, **linear(A, B)) == "completed"
    listed = here.client.list_snapshot_blocks(SnapshotId=snapshot)
    assert (listed["BlockSize"], listed["VolumeSize"]) == (BLOCK, 1)
    assert [one["BlockIndex"] for one in listed["Blocks"]] == [3, 2047]
    got = here.client.get_snapshot_block(SnapshotId=snapshot, **listed["Blocks"][0])
    assert (got["BlockData"].read(), got["Checksum"]) == (A, base64_of(A))
    here.server.snapshot(snapshot).read_back(tmp_path / "disk")
    with open(tmp_path / "disk", "rb") as file:
        assert file.read(4 * BLOCK) == ZERO * 3 + A
        file.seek(2047 * BLOCK)
        assert file.read() == B


def test_a_block_may_be_written_again_until_the_end(account: Make) -> None:
    here = account()
    snapshot = here.start()
    here.put(snapshot, 0, A)
    here.put(snapshot, 0, B)
    here.complete(snapshot, 1, **linear(B))
    refused("ValidationException", "INVALID_SNAPSHOT_ID", here.put, snapshot, 0, A)


@pytest.mark.parametrize(
    "more, reason",
    [
        ({"Checksum": base64_of(B)}, "INVALID_BLOCK"),
        ({"Checksum": "AAAA"}, "INVALID_PARAMETER_VALUE"),
        ({"ChecksumAlgorithm": "MD5"}, "INVALID_PARAMETER_VALUE"),
        ({"DataLength": BLOCK - 1}, "INVALID_PARAMETER_VALUE"),
        ({"BlockData": A[1:]}, "INVALID_PARAMETER_VALUE"),
        ({"Progress": 101}, "INVALID_PARAMETER_VALUE"),
        ({"BlockIndex": 2048}, "INVALID_BLOCK"),
        ({"SnapshotId": "snap-g"}, "INVALID_SNAPSHOT_ID"),
    ],
)
def test_wrong_blocks(account: Make, more: dict[str, Any], reason: str) -> None:
    here = account()
    right = {"SnapshotId": here.start(), "BlockIndex": 0, "BlockData": A, "DataLength": BLOCK}
    right |= {"Checksum": base64_of(A), "ChecksumAlgorithm": "SHA256"}
    refused("ValidationException", reason, here.client.put_snapshot_block, **{**right, **more})
    assert not here.server.snapshot(str(right["SnapshotId"])).digests


@pytest.mark.parametrize(
    "count, more",
    [(1, {}), (3, {}), (2, linear(B, A)), (2, linear(A)), (2, {"Checksum": base64_of(A)})],
)
def test_wrong_ends(account: Make, count: int, more: dict[str, str]) -> None:
    here = account()
    snapshot = here.start()
    here.put(snapshot, 0, A)
    here.put(snapshot, 1, B)
    refused("ValidationException", None, here.complete, snapshot, count, **more)
    here.complete(snapshot, 2, **linear(A, B))


@pytest.mark.parametrize(
    "more, reason",
    [
        ({"VolumeSize": 65537}, "INVALID_VOLUME_SIZE"),
        ({"Timeout": 4321}, "INVALID_PARAMETER_VALUE"),
        ({"ClientToken": "x" * 65}, "INVALID_PARAMETER_VALUE"),
        ({"Encrypted": True, "ParentSnapshotId": "snap-1"}, "INVALID_PARAMETER_VALUE"),
        ({"KmsKeyArn": "arn:aws:kms:r:123456789012:key/k"}, "INVALID_CUSTOMER_KEY"),
        ({"Tags": [{"Key": "k", "Value": "v"}, {"Key": "k", "Value": "w"}]}, "INVALID_TAG"),
    ],
)
def test_wrong_starts(account: Make, more: dict[str, Any], reason: str) -> None:
    refused("ValidationException", reason, account().start, **more)


def test_client_tokens(account: Make) -> None:
    here = account()
    first = here.start(ClientToken="t", Description="one")
    assert here.start(ClientToken="t", Description="one") == first
    assert here.start(Description="one") != first
    refused("ConflictException", None, here.start, ClientToken="t", Description="two")


def test_states(account: Make) -> None:
    here = account(settle=0.3, seal=0.3, minute=0.1)
    snapshot = here.start(Timeout=10)
    refused("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", here.put, snapshot, 0, A)
    time.sleep(0.35)
    here.put(snapshot, 0, A)
    refused("ValidationException", "INVALID_SNAPSHOT_ID", here.client.list_snapshot_blocks, SnapshotId=snapshot)
    assert here.complete(snapshot, 1) == "pending"
    time.sleep(0.35)
    assert here.complete(snapshot, 1) == "completed"
    late = here.start(Timeout=10)
    time.sleep(1.1)
    assert here.server.status(here.server.snapshot(late)) == "error"
    refused("ValidationException", "INVALID_SNAPSHOT_ID", here.put, late, 0, A)


def test_parents(account: Make) -> None:
    here = account()
    parent = here.whole({0: A, 1: A})
    child = here.whole({1: B, 2: B}, ParentSnapshotId=parent)
    blocks = here.client.list_snapshot_blocks(SnapshotId=child)["Blocks"]
    assert [one["BlockIndex"] for one in blocks] == [0, 1, 2]
    assert here.client.get_snapshot_block(SnapshotId=child, **blocks[0])["BlockData"].read() == A
    both = {"FirstSnapshotId": parent, "SecondSnapshotId": child}
    changed = here.client.list_changed_blocks(**both)["ChangedBlocks"]
    assert [(one["BlockIndex"], "FirstBlockToken" in one) for one in changed] == [(1, True), (2, False)]
    both["FirstSnapshotId"] = here.whole({})
    refused("ValidationException", "UNRELATED_SNAPSHOTS", here.client.list_changed_blocks, **both)
    refused("ResourceNotFoundException", None, here.start, ParentSnapshotId="snap-1")


def test_block_tokens_are_of_their_block(account: Make) -> None:
    here = account()
    snapshot = here.whole({0: A, 1: B})
    token = here.client.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"][0]["BlockToken"]
    get = here.client.get_snapshot_block
    wrong = {"SnapshotId": snapshot, "BlockIndex": 1, "BlockToken": token}
    refused("ValidationException", "INVALID_BLOCK_TOKEN", get, **wrong)


def test_pages(account: Make) -> None:
    here = account()
    snapshot = here.whole({})
    made = here.server.snapshot(snapshot)
    made.digests |= dict.fromkeys(range(250), b"")
    seen: list[int] = []
    asked: dict[str, Any] = {"SnapshotId": snapshot, "MaxResults": 100}
    while True:
        page = here.client.list_snapshot_blocks(**asked)
        seen += [one["BlockIndex"] for one in page["Blocks"]]
        if "NextToken" not in page:
            break
        asked["NextToken"] = page["NextToken"]
    assert seen == list(range(250))
    start = here.client.list_snapshot_blocks(SnapshotId=snapshot, StartingBlockIndex=240)["Blocks"]
    assert len(start) == 10


def test_encryption(account: Make) -> None:
    here = account(default_encryption=True)
    said = here.client.start_snapshot(VolumeSize=1)
    assert (said["SseType"], said["KmsKeyArn"][:12]) == ("sse-kms", "arn:aws:kms:")
    refused("ValidationException", None, here.start, Encrypted=False)


@pytest.mark.parametrize(
    "wrong, code",
    [
        ({"aws_secret_access_key": "wrong"}, "InvalidSignatureException"),
        ({"aws_access_key_id": "wrong"}, "UnrecognizedClientException"),
        ({"aws_session_token": "wrong"}, "UnrecognizedClientException"),
        ({"region_name": "us-east-1"}, "InvalidSignatureException"),
    ],
)
def test_signatures(account: Make, wrong: dict[str, str], code: str) -> None:
    here = account()
    snapshot = here.start()
    good, here.client = here.client, here.other(**wrong)
    refused(code, None, here.put, snapshot, 0, A)
    refused(code, None, here.start)
    here.client.close()
    here.client = good


def test_rates_and_permissions(account: Make) -> None:
    here = account(put_rate=2, pending=1, denied=frozenset({"CompleteSnapshot"}))
    snapshot = here.start()
    refused("ConcurrentLimitExceededException", None, here.start)
    here.put(snapshot, 0, A)
    here.put(snapshot, 1, A)
    refused("RequestThrottledException", "RESOURCE_LEVEL_THROTTLE", here.put, snapshot, 2, A)
    refused("AccessDeniedException", "UNAUTHORIZED_ACCOUNT", here.complete, snapshot, 2)


@pytest.mark.parametrize(
    "kind, error",
    [
        ("500", "InternalServerException"),
        ("503", "ServiceUnavailable"),
        ("throttle", "ThrottlingException"),
        ("denied", "AccessDeniedException"),
        ("reset", "ConnectionClosedError"),
        ("hang", "ReadTimeoutError"),
        ("lost", "ConnectionClosedError"),
    ],
)
def test_faults(account: Make, kind: str, error: str) -> None:
    here = account(faults=(f"CompleteSnapshot 1 {kind}",))
    snapshot = here.start()
    with pytest.raises((errors.ClientError, errors.HTTPClientError)) as caught:
        here.complete(snapshot, 0)
    said = getattr(caught.value, "response", None) or {}
    assert error in {type(caught.value).__name__, said.get("Error", {}).get("Code")}
    assert here.complete(snapshot, 0) == "completed"
    assert [call.fault for call in here.server.calls] == ["", kind, ""]


@pytest.mark.parametrize("line", ["", "A 1", "A x reset", "A 0 reset", "A 3-2 reset", "A 1 nonsense"])
def test_a_script_line_that_is_none(line: str) -> None:
    with pytest.raises(ValueError, match=r"ACTION NTH|kinds are"):
        Fault.parse(line)


def test_a_script_counts_by_action() -> None:
    script = Script(["A 2-3 reset", "B 1 500"])
    assert [script.next(action) for action in "AABAA"] == ["", "reset", "500", "reset", ""]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Generator[EbsServer, None, None]:
    with EbsServer(tmp_path_factory.mktemp("shared")) as server:
        yield server


@settings(max_examples=40)
@given(st.binary(max_size=300) | st.just(b"PUT /snapshots/snap-1/blocks/0 HTTP/1.1\r\nHost: h\r\n\r\n"))
def test_what_is_no_signed_request_does_not_get_through(shared: EbsServer, data: bytes) -> None:
    server = shared
    context = ssl.create_default_context(cafile=server.trusted)
    with (
        socket.create_connection(("127.0.0.1", int(server.endpoint.rsplit(":", 1)[1])), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(data + b"\r\n\r\n")
        answer = client.recv(4096)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 403 ", b"HTTP/1.1 404 "))
