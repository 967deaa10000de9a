# ruff: noqa: ANN401 -- boto3 has no types
"""A shared store in a bucket of any S3, by boto3: keys, region and endpoint are found by boto3's own ways.

An object is there whole or not at all. What a killed writer leaves is parts of an upload, which `sweep` ends; a
lifecycle rule of the bucket may do so as well.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

from imagekit.errors import BuildError, TryAgainError
from imagekit.extras import missing
from imagekit.store.backend import PATIENCE, Item, denied, down

_MISSING = {"404", "NoSuchKey", "NotFound"}
_EXISTS = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
_NO_CONDITIONS = {"NotImplemented", "501"}
_DENIED = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "NoSuchBucket"}
_AT_ONCE = 1000  # names in a DeleteObjects
_PART = 64 << 20


class S3:
    """A bucket's objects below a prefix."""

    private = False

    def __init__(self, bucket: str, prefix: str) -> None:
        self.url = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    @contextmanager
    def reading(self, name: str) -> Iterator[tuple[IO[bytes], Item] | None]:
        """Lend an object's body."""
        answer = self._asked("get_object", name)
        if answer is None:
            yield None
            return
        with answer["Body"] as body, self._told():
            yield cast("IO[bytes]", body), self._item(name, answer)

    def has(self, name: str) -> Item | None:
        """Return what is known of an object."""
        answer = self._asked("head_object", name)
        return answer and self._item(name, answer)

    def put(self, name: str, file: Path, *, replace: bool) -> bool:
        """Put an object, in parts when it is large; If-None-Match where there is to be none, and S3 knows it."""
        with self._told():
            if replace or file.stat().st_size > _PART:
                self._client.upload_file(str(file), self._bucket, self._prefix + name, Config=self._parts)
                return True
            try:
                with file.open("rb") as body:
                    self._client.put_object(
                        Bucket=self._bucket, Key=self._prefix + name, Body=body, IfNoneMatch="*"
                    )
            except self._client.exceptions.ClientError as error:
                if _code(error) in _EXISTS:
                    return False
                if _code(error) in _NO_CONDITIONS:
                    return self.put(name, file, replace=True)
                raise
        return True

    def use(self, name: str) -> None:
        """Copy an object onto itself: its time becomes now, and no byte leaves S3."""
        place = {"Bucket": self._bucket, "Key": self._prefix + name}
        with self._told():
            # The managed copy, since one request copies 5 GiB at most.
            self._client.copy(place, self._bucket, self._prefix + name, ExtraArgs={"MetadataDirective": "REPLACE"})

    def items(self, folder: str) -> Iterator[Item]:
        """Yield the objects below a folder."""
        with self._told():
            for page in self._pages("list_objects_v2", f"{folder}/"):
                for one in page.get("Contents", ()):
                    name = one["Key"].removeprefix(self._prefix)
                    yield Item(name, one["Size"], one["LastModified"].timestamp())

    def remove(self, names: Iterable[str]) -> None:
        """Delete objects, a thousand at a time."""
        keys = [{"Key": self._prefix + name} for name in names]
        with self._told():
            for at in range(0, len(keys), _AT_ONCE):
                wanted = {"Objects": keys[at : at + _AT_ONCE], "Quiet": True}
                answer = self._client.delete_objects(Bucket=self._bucket, Delete=wanted)
                if errors := answer.get("Errors"):
                    raise denied(self.url, f"{errors[0].get('Code')}: {errors[0].get('Message')}")

    def sweep(self, age: float) -> int:
        """End uploads that nobody has gone on with."""
        before = datetime.now(UTC) - timedelta(seconds=age)
        count = 0
        with self._told():
            for page in self._pages("list_multipart_uploads", ""):
                for one in page.get("Uploads", ()):
                    if one["Initiated"] < before:
                        self._client.abort_multipart_upload(
                            Bucket=self._bucket, Key=one["Key"], UploadId=one["UploadId"]
                        )
                        count += 1
        return count

    def _item(self, name: str, answer: Any) -> Item:
        try:
            return Item(name, answer["ContentLength"], answer["LastModified"].timestamp())
        except KeyError:  # a head that was cut off is none to boto3
            raise down(self.url, "an answer was cut off") from None

    def _pages(self, action: str, folder: str) -> Iterator[Any]:
        pages = self._client.get_paginator(action)
        return cast("Iterator[Any]", iter(pages.paginate(Bucket=self._bucket, Prefix=self._prefix + folder)))

    def _asked(self, action: str, name: str) -> Any:
        with self._told():
            try:
                return getattr(self._client, action)(Bucket=self._bucket, Key=self._prefix + name)
            except self._client.exceptions.ClientError as error:
                if _code(error) in _MISSING:
                    return None
                raise

    @cached_property
    def _client(self) -> Any:
        try:
            import boto3  # noqa: PLC0415 -- an extra's
            from botocore.config import Config  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise missing("a store on S3", error) from None
        retries = {"mode": "standard", "total_max_attempts": 2}
        return boto3.session.Session().client(
            "s3", config=Config(retries=retries, connect_timeout=5, read_timeout=PATIENCE, max_pool_connections=32)
        )

    @cached_property
    def _parts(self) -> Any:
        from boto3.s3.transfer import TransferConfig  # noqa: PLC0415 -- an extra's

        return TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART // 4, max_concurrency=4)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say what boto3 says in our words; its texts tell no secrets."""
        try:
            from boto3.exceptions import Boto3Error  # noqa: PLC0415 -- an extra's
            from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
            from urllib3.exceptions import HTTPError  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise missing("a store on S3", error) from None
        try:
            yield
        except ClientError as error:
            raise self._refused(error) from None
        except (BotoCoreError, Boto3Error, HTTPError) as error:
            raise down(self.url, f"{type(error).__name__}: {error}"[:300]) from None

    def _refused(self, error: Any) -> BuildError | TryAgainError:
        code = _code(error)
        words = f"{code}: {error.response.get('Error', {}).get('Message', '')}"[:300]
        return (denied if code in _DENIED else down)(self.url, words)


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
