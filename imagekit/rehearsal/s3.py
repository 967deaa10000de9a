"""S3: moto keeps the objects; what moto lets pass is refused here.

Signatures, checksums, the region of a bucket, ACLs on buckets that have none: moto looks at none of them.
"""

import json
import re
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote

from imagekit.rehearsal.cloud import Stored
from imagekit.rehearsal.http import Reply, Request
from imagekit.rehearsal.payload import decode, verify
from imagekit.rehearsal.query import NotDoneError, xml
from imagekit.rehearsal.warehouse import OWNER, Warehouse

EC2_READER = (
    "6aa5a366c34c1cbe25dc49211496e913e0351eb0e8c37aa3477e40942ec6b97c"  # za-team, whom aws-exec-read means
)
_ENFORCED = "BucketOwnerEnforced"
_OBJECT = {
    ("GET", "acl"): "GetObjectAcl",
    ("PUT", "acl"): "PutObjectAcl",
    ("GET", "tagging"): "GetObjectTagging",
    ("PUT", "tagging"): "PutObjectTagging",
    ("GET", "attributes"): "GetObjectAttributes",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("PUT", "uploadId"): "UploadPart",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", "uploadId"): "ListParts",
    ("GET", ""): "GetObject",
    ("HEAD", ""): "HeadObject",
    ("PUT", ""): "PutObject",
    ("DELETE", ""): "DeleteObject",
}
_BUCKET = {
    ("GET", "uploads"): "ListMultipartUploads",
    ("GET", "versions"): "ListObjectVersions",
    ("GET", "list-type"): "ListObjectsV2",
    ("GET", ""): "ListObjects",
    ("HEAD", ""): "HeadBucket",
    ("PUT", ""): "CreateBucket",
    ("DELETE", ""): "DeleteBucket",
    ("POST", "delete"): "DeleteObjects",
}
_PARTS = {
    "acl": "BucketAcl",
    "location": "BucketLocation",
    "ownershipControls": "BucketOwnershipControls",
    "policy": "BucketPolicy",
    "publicAccessBlock": "PublicAccessBlock",
    "tagging": "BucketTagging",
    "versioning": "BucketVersioning",
}
_VERBS = {"GET": "Get", "PUT": "Put", "DELETE": "Delete"}
_ANYWHERE = {"CreateBucket", "GetBucketLocation", "ListBuckets", "HeadBucket"}
_MAKES_OBJECTS = {"PutObject", "CopyObject", "CreateMultipartUpload"}
_PUBLIC = {"public-read", "public-read-write", "authenticated-read"}


class S3:
    """The service in all regions, by paths."""

    failures: ClassVar[dict[str, tuple[int, str, str]]] = {
        "500": (500, "InternalError", "We encountered an internal error. Please try again."),
        "503": (503, "ServiceUnavailable", "Service is unable to handle request."),
        "throttle": (503, "SlowDown", "Please reduce your request rate."),
        "denied": (403, "AccessDenied", "Access Denied"),
    }
    signature: ClassVar[dict[str, tuple[int, str]]] = {
        "MissingAuthenticationTokenException": (403, "AccessDenied"),
        "IncompleteSignatureException": (400, "AuthorizationHeaderMalformed"),
        "ExpiredTokenException": (400, "ExpiredToken"),
        "UnrecognizedClientException": (403, "InvalidAccessKeyId"),
        "InvalidSignatureException": (403, "SignatureDoesNotMatch"),
    }

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    @staticmethod
    def refuse(status: int, code: str, message: str) -> Reply:
        """Return an error as S3 says it."""
        said = xml("Error", {"Code": code, "Message": message, "RequestId": "REHEARSED"})
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n{said}'
        return Reply(status, text.encode(), {"Content-Type": "application/xml"})

    def action(self, request: Request) -> str:
        """Return the action that method, path and query make."""
        bucket, key = _names(request)
        asked = dict(parse_qsl(request.query, keep_blank_values=True))
        if not bucket:
            return "ListBuckets" if request.method == "GET" else ""
        table = _OBJECT if key else _BUCKET
        named = next((name for method, name in table if method == request.method and name and name in asked), "")
        part = next((name for name in asked if name in _PARTS), "")
        if not key and part and not named:
            return f"{_VERBS.get(request.method, '')}{_PARTS[part]}"
        action = table.get((request.method, named), "")
        if "x-amz-copy-source" in request.headers:
            return {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}.get(action, action)
        return action

    def perform(self, request: Request, region: str, action: str, _fault: str) -> Reply:
        """Check what moto does not, and let it do the rest."""
        if not action:
            raise NotDoneError("MethodNotAllowed", "The specified method is not allowed.", 405)
        name, _ = _names(request)
        bucket = self._warehouse.bucket(name)
        if bucket is not None and action not in _ANYWHERE and bucket.region_name != region:
            return _elsewhere(bucket.region_name)
        request = verify(decode(request))
        if action == "CreateBucket":
            request = _owned(request)
        elif bucket is not None:
            request = _with_acl(request, action, bucket.ownership_rule)
        if action == "CompleteMultipartUpload":
            request = _without(request, "x-amz-sdk-checksum-algorithm")
        return self._warehouse.call(request, region)

    def read(self, bucket: str, key: str) -> Stored | None:
        """Return an object as EC2 sees it."""
        kept = self._warehouse.bucket(bucket)
        data = self._warehouse.data(bucket, key)
        if kept is None or data is None:
            return None
        readable = _allowed(kept.policy, bucket, key)
        if kept.ownership_rule != _ENFORCED:
            readable = readable or EC2_READER in self._warehouse.readers(bucket, key)
        return Stored(kept.region_name, readable, data)

    def create(self, name: str, region: str) -> None:
        """Make a bucket."""
        self._warehouse.create(name, region, _ENFORCED)


def _names(request: Request) -> tuple[str, str]:
    bucket, _, key = unquote(request.path).removeprefix("/").partition("/")
    return bucket, key


def _elsewhere(region: str) -> Reply:
    message = "The bucket you are attempting to access must be addressed using the specified endpoint."
    reply = S3.refuse(301, "PermanentRedirect", f"{message} It is in {region}.")
    return replace(reply, headers={**reply.headers, "x-amz-bucket-region": region})


def _without(request: Request, *names: str) -> Request:
    kept = {name: value for name, value in request.headers.items() if name not in names}
    return replace(request, headers=kept)


def _grants(request: Request) -> list[str]:
    return [name for name in request.headers if name.startswith("x-amz-grant-")]


def _owned(request: Request) -> Request:
    """A new bucket has no ACLs unless it is said to have them."""
    headers = request.headers
    enforced = headers.get("x-amz-object-ownership", _ENFORCED) == _ENFORCED
    if enforced and (headers.get("x-amz-acl", "private") != "private" or _grants(request)):
        message = "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"
        raise NotDoneError("InvalidBucketAclWithObjectOwnership", message)
    return replace(request, headers={"x-amz-object-ownership": _ENFORCED, **headers})


def _with_acl(request: Request, action: str, ownership: str | None) -> Request:
    canned, grants = request.headers.get("x-amz-acl", ""), _grants(request)
    sets = action in {"PutObjectAcl", "PutBucketAcl"}
    harmless = canned == "bucket-owner-full-control" and not grants
    if ownership == _ENFORCED and not harmless and (sets or grants or canned):
        raise NotDoneError("AccessControlListNotSupported", "The bucket does not allow ACLs")
    if action not in _MAKES_OBJECTS and not sets:
        return request
    if canned in _PUBLIC:
        # A new account blocks public access, and nobody here takes the block away.
        raise NotDoneError("AccessDenied", "public ACLs are blocked by the BlockPublicAcls setting", 403)
    if canned == "aws-exec-read":
        # moto knows the name and grants nothing.
        both = {"x-amz-grant-full-control": f'id="{OWNER}"', "x-amz-grant-read": f'id="{EC2_READER}"'}
        return replace(_without(request, "x-amz-acl"), headers={**_without(request, "x-amz-acl").headers, **both})
    if not canned and not grants and not sets:
        return replace(request, headers={**request.headers, "x-amz-acl": "private"})  # moto takes the bucket's
    return request


def _allowed(policy: str | bytes | None, bucket: str, key: str) -> bool:
    """Whether a bucket's policy lets EC2 read an object."""
    if not policy:
        return False
    allowed = False
    for one in _listed(json.loads(policy).get("Statement")):
        actions = [str(name) for name in _listed(one.get("Action"))]
        things = [str(name) for name in _listed(one.get("Resource"))]
        fits = any(fnmatchcase("s3:GetObject", name) for name in actions)
        fits = fits and any(fnmatchcase(f"arn:aws:s3:::{bucket}/{key}", name) for name in things)
        if not fits or not _is_ec2(one.get("Principal")) or one.get("Condition"):
            continue
        if one.get("Effect") == "Deny":
            return False
        allowed = True
    return allowed


def _is_ec2(principal: Any) -> bool:  # noqa: ANN401 -- JSON
    if principal == "*":
        return True
    named = principal if isinstance(principal, dict) else {}
    readers = {"CanonicalUser": {EC2_READER}, "Service": {"ec2.amazonaws.com"}, "AWS": {"*"}}
    return any(set(map(str, _listed(named.get(kind)))) & who for kind, who in readers.items())


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 -- JSON
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
