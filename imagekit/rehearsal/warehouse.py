"""moto's S3, called in this process without a network between: where the objects of a rehearsal lie."""

import io
from itertools import count
from threading import Lock
from typing import Any
from urllib.parse import unquote_to_bytes

from imagekit.rehearsal.http import Reply, Request

OWNER = "75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a"  # moto's, for every account
_ACCOUNTS = count(100_000_000_001)
_DROPPED = {"connection", "transfer-encoding", "content-length", "server", "date"}


class Warehouse:
    """The objects of one account. Accounts of one process share the names of buckets, as AWS's do."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import create_backend_app  # noqa: PLC0415 -- an extra, and slow
        from moto.s3.models import s3_backends  # noqa: PLC0415

        self._app: Any = create_backend_app("s3")
        self._account = str(next(_ACCOUNTS))
        self._kept: Any = s3_backends[self._account]["aws"]
        self._names: Any = s3_backends.bucket_accounts
        self._lock = Lock()

    def close(self) -> None:
        """Give all room back."""
        for bucket in list(self._kept.buckets.values()):
            for key in [one for _, kept in bucket.keys.lists() for one in kept]:
                key.dispose()
            for upload in bucket.multiparts.values():
                upload.dispose()
            self._names.pop(bucket.name, None)
        self._kept.buckets.clear()

    def bucket(self, name: str) -> Any:  # noqa: ANN401 -- moto has no types
        """Return what moto knows of a bucket, None when there is none."""
        return self._kept.buckets.get(name)

    def create(self, name: str, region: str, ownership: str) -> None:
        """Make a bucket."""
        self._kept.create_bucket(name, region).ownership_rule = ownership

    def data(self, bucket: str, key: str) -> bytes | None:
        """Return the bytes of an object, None when there is none."""
        found = self.bucket(bucket) and self._kept.get_object(bucket, key)
        return bytes(found.value) if found else None

    def readers(self, bucket: str, key: str) -> set[str]:
        """Return the canonical users who may read an object by its ACL."""
        found = self._kept.get_object(bucket, key)
        grants = found.acl.grants if found and found.acl else []
        return {
            str(who.id)
            for grant in grants
            if {"READ", "FULL_CONTROL"} & set(grant.permissions)
            for who in grant.grantees
        }

    def call(self, request: Request, region: str) -> Reply:
        """Let moto answer a request."""
        said: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], _error: object = None) -> None:
            said[:] = [status, headers]

        # moto's own bookkeeping was never meant for threads.
        with self._lock:
            pieces: Any = self._app(self._environment(request, region), start)
            body = b"".join(pieces)
            if hasattr(pieces, "close"):
                pieces.close()
        status, headers = said
        kept = {name: value for name, value in headers if name.lower() not in _DROPPED}
        if request.method == "HEAD":
            kept["Content-Length"] = next(
                (value for name, value in headers if name.lower() == "content-length"), "0"
            )
        return Reply(int(status.split()[0]), body, kept)

    def _environment(self, request: Request, region: str) -> dict[str, Any]:
        raw = f"{request.path}?{request.query}" if request.query else request.path
        environment: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(request.path).decode("latin-1"),
            "QUERY_STRING": request.query,
            "REQUEST_URI": raw,
            "RAW_URI": raw,
            "SERVER_NAME": f"s3.{region}.amazonaws.com",
            "SERVER_PORT": "443",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(request.body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "CONTENT_LENGTH": str(len(request.body)),
            "HTTP_X_MOTO_ACCOUNT_ID": self._account,
        }
        for name, value in request.headers.items():
            if name in {"host", "content-length", "transfer-encoding", "expect", "x-moto-account-id"}:
                continue
            known = name.upper().replace("-", "_")
            environment[known if known == "CONTENT_TYPE" else f"HTTP_{known}"] = value
        environment["HTTP_HOST"] = f"s3.{region}.amazonaws.com"
        return environment
