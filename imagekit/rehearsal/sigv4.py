"""Checks Signature Version 4 the long way: from the canonical request, with the secret that the account has."""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

from imagekit.rehearsal.http import Request

UNSIGNED = "UNSIGNED-PAYLOAD"
TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_SKEW = timedelta(minutes=5)
_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/([0-9]{8})/([^/,\s]+)/([^/,\s]+)/aws4_request,"
    r"\s*SignedHeaders=([a-z0-9;-]+),\s*Signature=([0-9a-f]{64})"
)


@dataclass(frozen=True)
class Scope:
    """What a credential is for, as the request says, unproven."""

    region: str
    service: str

    @classmethod
    def of(cls, request: Request) -> "Scope | None":
        """Read it from a request; None when that has no signature."""
        parts = _HEADER.fullmatch(request.headers.get("authorization", ""))
        return cls(parts[3], parts[4]) if parts else None


@dataclass(frozen=True)
class Keys:
    """An account's keys. `expired` are session tokens whose time is over."""

    access: str = "AKIDREHEARSAL"
    secret: str = field(default="rehearsal-secret", repr=False)
    token: str | None = field(default=None, repr=False)
    expired: frozenset[str] = field(default=frozenset(), repr=False)


class RefusedError(Exception):
    """A signature that does not hold: the code and the words that AWS has for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def check(request: Request, keys: Keys, region: str, service: str, *, unsigned: bool = False) -> None:
    """Raise RefusedError unless the request is signed by these keys. `unsigned`: its body need not be."""
    if "authorization" not in request.headers:
        raise RefusedError("MissingAuthenticationTokenException", "Missing Authentication Token")
    parts = _HEADER.fullmatch(request.headers["authorization"])
    if parts is None:
        raise RefusedError("IncompleteSignatureException", "Authorization header requires its four parts")
    access, day, its_region, its_service, names, signature = parts.groups()
    moment = request.headers.get("x-amz-date", "")
    token = request.headers.get("x-amz-security-token")
    if token in keys.expired:
        raise RefusedError("ExpiredTokenException", "The security token included in the request is expired")
    if access != keys.access or token != keys.token:
        raise RefusedError("UnrecognizedClientException", "The security token included in the request is invalid.")
    if (its_region, its_service) != (region, service):
        raise RefusedError(
            "InvalidSignatureException", f"Credential should be scoped to {region}/{service}, not {its_region}"
        )
    _fresh(moment, day)
    signed = names.split(";")
    must = {"host", *(name for name in request.headers if name.startswith("x-amz-") and name != "x-amzn-trace-id")}
    if signed != sorted(set(signed)) or not must <= set(signed) or not set(signed) <= set(request.headers):
        raise RefusedError("InvalidSignatureException", "SignedHeaders must name host and every x-amz- header")
    canonical = _canonical(request, signed, _body(request, unsigned=unsigned), raw=service == "s3")
    scope = f"{day}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{keys.secret}".encode()
    for part in (day, region, service, "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(key.hex(), signature):
        # So talkative is the real one, too: the token stands in it.
        raise RefusedError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. "
            f"The Canonical String for this request should have been\n'{canonical}'",
        )


def _fresh(moment: str, day: str) -> None:
    try:
        then = datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise RefusedError("IncompleteSignatureException", "X-Amz-Date is missing or malformed") from None
    if not moment.startswith(day) or abs(datetime.now(UTC) - then) > _SKEW:
        raise RefusedError("InvalidSignatureException", "Signature expired or not yet current")


def _body(request: Request, *, unsigned: bool) -> str:
    stated = request.headers.get("x-amz-content-sha256")
    if stated in {UNSIGNED, TRAILER} and unsigned:
        return str(stated)
    real = hashlib.sha256(request.body).hexdigest()
    if stated is not None and stated != real:
        raise RefusedError("InvalidSignatureException", "x-amz-content-sha256 is not the body's SHA-256")
    return real


def _canonical(request: Request, signed: list[str], body: str, *, raw: bool = False) -> str:
    pairs = (pair.partition("=") for pair in request.query.split("&") if pair)
    query = sorted((_quoted(name), _quoted(value)) for name, _, value in pairs)
    headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in signed)
    return "\n".join(
        (
            request.method,
            request.path if raw else quote(request.path, safe="/-_.~"),  # S3 alone quotes a path once
            "&".join(f"{name}={value}" for name, value in query),
            headers,
            ";".join(signed),
            body,
        )
    )


def _quoted(text: str) -> str:
    return quote(unquote(text), safe="-_.~")
