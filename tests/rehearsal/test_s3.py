# ruff: noqa: ANN401 -- boto3 has no types
"""S3 by boto3's own client, and images that are registered from bundles in it."""

import io
import json
from base64 import b64encode
from collections.abc import Callable
from hashlib import md5, sha1, sha256
from typing import Any

import pytest

from imagekit.rehearsal.http import Request
from imagekit.rehearsal.payload import decode
from imagekit.rehearsal.query import NotDoneError
from imagekit.rehearsal.s3 import EC2_READER
from tests.rehearsal.conftest import IRELAND, VIRGINIA, Place, refused

Make = Callable[..., Place]
BUCKET = "a-bucket.of-ours"
PART = 10 * 1024 * 1024


def bundle(parts: list[bytes], **more: str) -> bytes:
    said = {
        "name": "hello",
        "user": "123456789012",
        "type": "machine",
        "digest": "00",
        "size": "1",
        "bundled_size": str(sum(map(len, parts))),
        "ec2_encrypted_key": "aa",
        "user_encrypted_key": "bb",
        "ec2_encrypted_iv": "cc",
        "user_encrypted_iv": "dd",
        **more,
    }
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in said.items())
    listed = "".join(
        f"<part index='{at}'><filename>hello.part.{at}</filename>"
        f"<digest algorithm='SHA1'>{sha1(data, usedforsecurity=False).hexdigest()}</digest></part>"
        for at, data in enumerate(parts)
    )
    return (
        "<?xml version='1.0'?><manifest><version>2007-10-10</version><bundler><name>n</name></bundler>"
        "<machine_configuration><architecture>x86_64</architecture></machine_configuration>"
        f"<image>{inside}<parts count='{len(parts)}'>{listed}</parts></image><signature>ee</signature></manifest>"
    ).encode()


class Bucket:
    def __init__(self, place: Place, *, acls: bool = True) -> None:
        self.place = place
        self.s3 = place.client("s3")
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": IRELAND})
        if acls:
            rules = {"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}
            self.s3.put_bucket_ownership_controls(Bucket=BUCKET, OwnershipControls=rules)

    def put(self, key: str, data: bytes, **more: Any) -> Any:
        return self.s3.put_object(Bucket=BUCKET, Key=key, Body=data, **more)

    def bundled(self, parts: list[bytes], manifest: bytes, **more: Any) -> None:
        for at, data in enumerate(parts):
            self.put(f"at/hello.part.{at}", data, **more)
        self.put("at/hello.manifest.xml", manifest, **more)

    def register(self, **more: Any) -> Any:
        asked = {
            "Name": "hello",
            "ImageLocation": f"{BUCKET}/at/hello.manifest.xml",
            "VirtualizationType": "paravirtual",
            "KernelId": "aki-dc9ed9af",
            **more,
        }
        return self.place.ec2.register_image(**asked)


@pytest.fixture
def bucket(place: Make) -> Bucket:
    return Bucket(place())


GRANT = {"ACL": "aws-exec-read"}
PARTS = [b"p" * PART, b"q" * 100]


def test_objects_come_back(bucket: Bucket) -> None:
    key = "a/b c~+é&=.bin"
    tag = bucket.put(key, b"hello", ContentMD5=b64encode(md5(b"hello").digest()).decode())["ETag"]  # noqa: S324
    bucket.s3.upload_fileobj(io.BytesIO(b"streamed"), BUCKET, "s")
    assert bucket.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"hello"
    head = bucket.s3.head_object(Bucket=BUCKET, Key=key)
    assert (head["ContentLength"], head["ETag"]) == (5, tag)
    assert [one["Key"] for one in bucket.s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == [key, "s"]
    assert bucket.place.account.stored(BUCKET, "s") == b"streamed"
    assert bucket.s3.head_bucket(Bucket=BUCKET)["BucketRegion"] == IRELAND
    bucket.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key}, {"Key": "s"}]})
    assert "Contents" not in bucket.s3.list_objects_v2(Bucket=BUCKET)
    refused("NoSuchKey", bucket.s3.get_object, Bucket=BUCKET, Key=key)
    refused("404", bucket.s3.head_object, Bucket=BUCKET, Key=key)
    actions = [one.action for one in bucket.place.account.calls if one.service == "s3"]
    assert actions[:2] == ["CreateBucket", "PutBucketOwnershipControls"]
    assert actions[2:6] == ["PutObject", "PutObject", "GetObject", "HeadObject"]


def test_an_object_that_is_there_is_not_written_over(bucket: Bucket) -> None:
    bucket.put("k", b"1", IfNoneMatch="*")
    refused("PreconditionFailed", bucket.put, "k", b"2", IfNoneMatch="*")
    assert bucket.place.account.stored(BUCKET, "k") == b"1"


def test_uploads_in_parts(bucket: Bucket) -> None:
    transfer = pytest.importorskip("boto3.s3.transfer")
    data = bytes(range(256)) * 4096 * 12
    config = transfer.TransferConfig(multipart_threshold=1 << 20, multipart_chunksize=5 << 20)
    bucket.s3.upload_fileobj(io.BytesIO(data), BUCKET, "big", Config=config, ExtraArgs=GRANT)
    assert bucket.place.account.stored(BUCKET, "big") == data
    ids = [
        one["Grantee"]["ID"]
        for one in bucket.s3.get_object_acl(Bucket=BUCKET, Key="big")["Grants"]
        if one["Permission"] == "READ"
    ]
    assert ids == [EC2_READER]
    upload = bucket.s3.create_multipart_upload(Bucket=BUCKET, Key="other")["UploadId"]
    part = {"Bucket": BUCKET, "Key": "other", "UploadId": upload}
    bucket.s3.upload_part(**part, PartNumber=1, Body=b"x")
    assert len(bucket.s3.list_parts(**part)["Parts"]) == 1
    bucket.s3.abort_multipart_upload(**part)
    assert "Uploads" not in bucket.s3.list_multipart_uploads(Bucket=BUCKET)


@pytest.mark.parametrize(
    "code,more",
    [
        ("BadDigest", {"ContentMD5": b64encode(bytes(16)).decode()}),
        ("InvalidDigest", {"ContentMD5": "short"}),
        ("BadDigest", {"ChecksumSHA256": b64encode(sha256(b"other").digest()).decode()}),
        ("BadDigest", {"ChecksumCRC32": "AAAAAA=="}),
        ("InvalidRequest", {"ChecksumSHA1": "AAAA"}),
        ("AccessDenied", {"ACL": "public-read"}),
    ],
)
def test_what_a_put_is_refused_for(bucket: Bucket, code: str, more: dict[str, str]) -> None:
    refused(code, bucket.put, "k", b"data", **more)
    assert bucket.place.account.stored(BUCKET, "k") is None


def test_checksums_that_hold(bucket: Bucket) -> None:
    stated = b64encode(sha256(b"data").digest()).decode()
    bucket.put("k", b"data", ChecksumSHA256=stated)
    assert bucket.s3.head_object(Bucket=BUCKET, Key="k", ChecksumMode="ENABLED")["ChecksumSHA256"] == stated


def chunked(body: bytes, **more: str) -> Request:
    headers = {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "content-encoding": "aws-chunked",
        "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-decoded-content-length": "5",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    return Request("PUT", "/b/k", "", headers, body)


def test_chunks_are_taken_apart() -> None:
    body = b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
    plain = decode(chunked(body))
    assert (plain.body, plain.headers) == (b"hello", {"x-amz-checksum-crc32": "NhCmhg=="})
    assert decode(chunked(body, content_encoding="gzip,aws-chunked")).headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    "body,more",
    [
        (b"5\r\nhello\r\n0\r\n\r\n", {}),
        (b"5\r\nhell\r\n0\r\nx-amz-checksum-crc32:x\r\n\r\n", {}),
        (b"5\r\nhello\r\n", {}),
        (b"z\r\n", {}),
        (b"", {}),
        (b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:x\r\n\r\n", {"x_amz_decoded_content_length": "6"}),
        (b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:x\r\n\r\n", {"content_encoding": "gzip"}),
        (b"", {"x_amz_content_sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}),
    ],
)
def test_chunks_that_are_wrong(body: bytes, more: dict[str, str]) -> None:
    with pytest.raises(NotDoneError):
        decode(chunked(body, **more))


def test_a_new_bucket_has_no_acls(place: Make) -> None:
    here = Bucket(place(), acls=False)
    rules = here.s3.get_bucket_ownership_controls(Bucket=BUCKET)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    refused("AccessControlListNotSupported", here.put, "k", b"", **GRANT)
    refused("AccessControlListNotSupported", here.put, "k", b"", GrantRead=f"id={EC2_READER}")
    here.put("k", b"", ACL="bucket-owner-full-control")
    refused("AccessControlListNotSupported", here.s3.put_object_acl, Bucket=BUCKET, Key="k", ACL="private")
    refused("AccessControlListNotSupported", here.s3.put_bucket_acl, Bucket=BUCKET, ACL="private")
    begin = here.s3.create_multipart_upload
    refused("AccessControlListNotSupported", begin, Bucket=BUCKET, Key="k", **GRANT)
    there = {"LocationConstraint": IRELAND}
    asked = {"Bucket": "another", "ACL": "public-read", "CreateBucketConfiguration": there}
    refused("InvalidBucketAclWithObjectOwnership", here.s3.create_bucket, **asked)


def test_a_bucket_is_in_its_region(bucket: Bucket) -> None:
    there = bucket.place.client("s3", VIRGINIA)
    bucket.put("k", b"")
    assert there.get_object(Bucket=BUCKET, Key="k")["ETag"]  # boto3 goes where it is sent
    assert [one.status for one in bucket.place.account.calls if one.region == VIRGINIA][:1] == [301]
    assert there.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] == IRELAND
    refused("SignatureDoesNotMatch", bucket.place.client("s3", aws_secret_access_key="x").list_buckets)  # noqa: S106
    refused("InvalidAccessKeyId", bucket.place.client("s3", aws_access_key_id="x").list_buckets)


def test_an_image_is_registered_from_a_bundle(bucket: Bucket) -> None:
    bucket.bundled(PARTS, bundle(PARTS), **GRANT)
    image = bucket.place.image(bucket.register()["ImageId"])
    assert (image["ImageLocation"], image["RootDeviceType"]) == (
        f"{BUCKET}/at/hello.manifest.xml",
        "instance-store",
    )
    assert (image["Architecture"], image["KernelId"]) == ("x86_64", "aki-dc9ed9af")


@pytest.mark.parametrize(
    "parts,manifest",
    [
        (PARTS, b"<manifest"),
        (PARTS, bundle(PARTS).replace(b"'SHA1'", b'"SHA1"')),
        (PARTS, bundle(PARTS).replace(b"<signature>ee</signature>", b"")),
        (PARTS, bundle(PARTS, user_encrypted_iv="")),
        (PARTS, bundle(PARTS, ec2_encrypted_key="AA")),
        (PARTS, bundle(PARTS, bundled_size="5")),
        (PARTS, bundle(PARTS).replace(b"count='2'", b"count='3'")),
        (PARTS, bundle(PARTS).replace(b"<name>hello</name>", b"")),
        (PARTS, bundle([PARTS[0], b"r" * 100])),
        (PARTS[:1], bundle(PARTS)),
        ([b"p", b"q"], bundle([b"p", b"q"])),
    ],
)  # fmt: skip
def test_what_is_no_bundle(bucket: Bucket, parts: list[bytes], manifest: bytes) -> None:
    bucket.bundled(parts, manifest, **GRANT)
    refused("InvalidManifest", bucket.register)


def test_whose_bundle_it_is_and_for_what(bucket: Bucket) -> None:
    bucket.bundled(PARTS, bundle(PARTS, user="210987654321"), **GRANT)
    refused("AuthFailure", bucket.register)
    bucket.bundled(PARTS, bundle(PARTS), **GRANT)
    refused("InvalidParameterCombination", bucket.register, Architecture="i386")
    refused("InvalidManifest", bucket.register, ImageLocation=f"{BUCKET}/elsewhere.xml")
    there = bucket.place.client("ec2", VIRGINIA)
    wrong = {"Name": "hello", "ImageLocation": f"{BUCKET}/at/hello.manifest.xml", "KernelId": "aki-5c21674b"}
    assert "301" in refused("InvalidManifest", there.register_image, **wrong)


def test_ec2_must_be_let_in(place: Make) -> None:
    here = Bucket(place(), acls=False)
    here.bundled(PARTS, bundle(PARTS))
    assert "403 (Forbidden)" in refused("InvalidManifest", here.register)
    allowed = {
        "Effect": "Allow",
        "Principal": {"CanonicalUser": EC2_READER},
        "Action": ["s3:GetObject"],
        "Resource": f"arn:aws:s3:::{BUCKET}/at/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [allowed]}
    here.s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
    assert here.register()["ImageId"]


def test_a_grant_may_come_later(bucket: Bucket) -> None:
    bucket.bundled(PARTS, bundle(PARTS))
    refused("InvalidManifest", bucket.register)
    for name in ("hello.part.0", "hello.part.1", "hello.manifest.xml"):
        bucket.s3.put_object_acl(Bucket=BUCKET, Key=f"at/{name}", **GRANT)
    assert bucket.register()["ImageId"]


def test_faults_by_script(place: Make) -> None:
    kinds = {"500": "InternalError", "503": "ServiceUnavailable", "throttle": "SlowDown", "denied": "AccessDenied"}
    broken = ("reset", "lost", "truncated")
    scripted = [f"PutObject {at} {kind}" for at, kind in enumerate([*kinds, *broken], 1)]
    here = Bucket(place(faults=tuple(scripted)))
    errors = pytest.importorskip("botocore.exceptions")
    for code in kinds.values():
        refused(code, here.put, "k", b"")
    assert here.place.account.stored(BUCKET, "k") is None
    for _ in broken:
        with pytest.raises(errors.BotoCoreError):
            here.put("k", b"")
    assert here.place.account.stored(BUCKET, "k") == b""
    here.put("k", b"1")
