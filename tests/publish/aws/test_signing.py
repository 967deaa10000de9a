# ruff: noqa: ANN401 -- botocore has no types
"""Our signature against botocore's, for whatever it may be asked to sign."""

from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import PublishError
from imagekit.publish.aws.signing import Signer, host_of

auth = pytest.importorskip("botocore.auth")
awsrequest = pytest.importorskip("botocore.awsrequest")
credentials = pytest.importorskip("botocore.credentials")

visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
hosts = st.sampled_from(["ebs.eu-west-1.amazonaws.com", "127.0.0.1:8443", "EBS.Example:443", "[::1]:99", "x.cn/"])
moments = st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2090, 1, 1))  # noqa: DTZ001 -- hypothesis wants it so


def theirs(
    url: str, region: str, keys: tuple[str, str, str | None], headers: dict[str, str], now: datetime
) -> Any:
    request = awsrequest.AWSRequest(method="PUT", url=url, headers=headers, data=b"body")
    request.context["payload_signing_enabled"] = False
    with patch.object(auth, "get_current_datetime", lambda: now):
        auth.SigV4Auth(credentials.Credentials(*keys), "ebs", region).add_auth(request)
    return request.headers


@given(
    hosts,
    st.sampled_from(["eu-west-1", "us-gov-west-1", "cn-north-1"]),
    st.tuples(visible.filter(lambda text: "/" not in text), visible, st.none() | visible),
    st.integers(0, 1 << 40),
    st.lists(moments, min_size=1, max_size=3),
)
def test_headers_are_botocores(
    host: str, region: str, keys: tuple[str, str, str | None], index: int, times: list[datetime]
) -> None:
    signer = Signer(f"https://{host}", region, lambda: keys)
    for moment in times:
        now = moment.replace(tzinfo=UTC)
        path, ours = signer.put("snap-0abc", index, "Zm9v+/A=", 524288, by=signer.credentials(), now=now)
        plain = {
            "x-amz-Data-Length": "524288",
            "x-amz-Checksum": "Zm9v+/A=",
            "x-amz-Checksum-Algorithm": "SHA256",
        }
        want = theirs(f"https://{host.rstrip('/')}{path}", region, keys, plain, now)
        assert path == f"/snapshots/snap-0abc/blocks/{index}"
        assert {name: value for name, value in ours.items() if name != "Host"} == dict(want.items())


def test_a_refreshed_key_is_used() -> None:
    keys = iter([("A", "one", None), ("A", "two", "token"), ("A", "one", None)])
    signer = Signer("https://h", "r", lambda: next(keys))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    first, second, third = (
        signer.put("snap-1", 0, "AA==", 1, by=signer.credentials(), now=now)[1]["Authorization"] for _ in range(3)
    )
    assert first == third != second


@pytest.mark.parametrize(
    "keys", [("A\r\nX: y", "s", None), ("A", "s", "to\nken"), ("", "s", None), ("A", "", None)]
)
def test_unsendable_credentials_are_not_shown(keys: tuple[str, str, str | None]) -> None:
    with pytest.raises(PublishError, match="no header can carry") as caught:
        Signer("https://h", "r", lambda: keys).credentials()
    assert "ken" not in str(caught.value).replace("token", "")


@pytest.mark.parametrize("snapshot", ["snap-XYZ", "snap-1/../2", "", "snap-1\r\n"])
def test_a_hostile_snapshot_is_not_signed(snapshot: str) -> None:
    with pytest.raises(ValueError, match="no PutSnapshotBlock"):
        Signer("https://h", "r", lambda: ("A", "s", None)).put(snapshot, 0, "AA==", 1, by=("A", "s", None))


def test_plain_http_is_refused() -> None:
    with pytest.raises(PublishError, match="no https"):
        host_of("http://h")
