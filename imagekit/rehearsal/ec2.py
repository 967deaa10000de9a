"""EC2, as far as images go, and STS: which action does what, and how each of them refuses."""

from collections.abc import Callable
from typing import ClassVar
from urllib.parse import parse_qs

from imagekit.rehearsal import copies, images, places, register
from imagekit.rehearsal.cloud import Ask, Cloud
from imagekit.rehearsal.http import Reply, Request
from imagekit.rehearsal.query import Asked, NotDoneError, answer, refusal, xml
from imagekit.rehearsal.rate import Allowance

_SPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
_VERSION = "2016-11-15"
_ACTIONS: dict[str, Callable[[Ask], dict[str, object]]] = {
    "RegisterImage": register.register,
    "DescribeImages": images.describe,
    "DeregisterImage": images.deregister,
    "ModifyImageAttribute": images.modify,
    "DescribeImageAttribute": images.attribute,
    "EnableImageDeprecation": images.deprecate,
    "DisableImageDeprecation": images.undeprecate,
    "CopyImage": copies.copy_image,
    "DescribeSnapshots": copies.describe,
    "DeleteSnapshot": copies.delete,
    "CopySnapshot": copies.copy,
    "ModifySnapshotAttribute": copies.modify,
    "DescribeSnapshotAttribute": copies.attribute,
    "CreateTags": copies.tag,
    "DeleteTags": copies.untag,
    "GetEbsEncryptionByDefault": copies.encryption,
    "EnableEbsEncryptionByDefault": copies.encrypt,
    "DisableEbsEncryptionByDefault": copies.leave_plain,
    "DescribeInstanceTypes": places.instance_types,
    "DescribeRegions": places.regions,
}


class Ec2:
    """The service in all regions."""

    failures: ClassVar[dict[str, tuple[int, str, str]]] = {
        "500": (500, "InternalError", "An internal error has occurred"),
        "503": (503, "Unavailable", "The service is unavailable. Please try again shortly."),
        "throttle": (503, "RequestLimitExceeded", "Request limit exceeded."),
        "denied": (403, "UnauthorizedOperation", "You are not authorized to perform this operation."),
    }
    signature: ClassVar[dict[str, tuple[int, str]]] = {
        "MissingAuthenticationTokenException": (400, "MissingAuthenticationToken"),
        "IncompleteSignatureException": (400, "IncompleteSignature"),
        "ExpiredTokenException": (400, "RequestExpired"),
        "UnrecognizedClientException": (401, "AuthFailure"),
        "InvalidSignatureException": (403, "SignatureDoesNotMatch"),
    }

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        limits = cloud.settings
        self._reads = {
            name: Allowance(limits.ec2_read_rate, burst=limits.ec2_read_burst) for name in cloud.regions
        }
        self._writes = {
            name: Allowance(limits.ec2_write_rate, burst=limits.ec2_write_burst) for name in cloud.regions
        }

    @staticmethod
    def refuse(status: int, code: str, message: str) -> Reply:
        """Return an error as EC2 says it."""
        return refusal(status, code, message)

    def action(self, request: Request) -> str:
        """Return the action that a request names."""
        return form_action(request)

    def perform(self, request: Request, region: str, action: str, fault: str) -> Reply:
        """Do what is asked for."""
        if action not in _ACTIONS:
            message = f"The action {action} is not valid for this web service."
            raise NotDoneError("InvalidAction", message)
        rates = self._reads if action.startswith(("Describe", "Get")) else self._writes
        if not rates[region].take():
            status, code, message = self.failures["throttle"]
            raise NotDoneError(code, message, status)
        asked = Asked.parse(request.body)
        if asked.text("Version") != _VERSION:
            raise NotDoneError("InvalidAction", f"The version of the API is {_VERSION}")
        if asked.flag("DryRun"):
            message = "Request would have succeeded, but DryRun flag is set."
            raise NotDoneError("DryRunOperation", message, 412)
        with self._cloud.lock:
            said = _ACTIONS[action](Ask(self._cloud, self._cloud.regions[region], asked, fault))
        return answer(action, _SPACE, said)


class Sts:
    """Who am I."""

    failures: ClassVar[dict[str, tuple[int, str, str]]] = {
        "500": (500, "InternalFailure", "An internal error has occurred"),
        "503": (503, "ServiceUnavailable", "The service is unavailable."),
        "throttle": (400, "Throttling", "Rate exceeded"),
        "denied": (403, "AccessDenied", "User is not authorized to perform: sts:GetCallerIdentity"),
    }
    signature: ClassVar[dict[str, tuple[int, str]]] = {
        "MissingAuthenticationTokenException": (403, "MissingAuthenticationToken"),
        "IncompleteSignatureException": (400, "IncompleteSignature"),
        "ExpiredTokenException": (403, "ExpiredToken"),
        "UnrecognizedClientException": (403, "InvalidClientTokenId"),
        "InvalidSignatureException": (403, "SignatureDoesNotMatch"),
    }

    def __init__(self, owner: str) -> None:
        self._owner = owner

    @staticmethod
    def refuse(status: int, code: str, message: str) -> Reply:
        """Return an error as STS says it."""
        inside = xml("Error", {"Type": "Sender", "Code": code, "Message": message}) + xml("RequestId", "rehearsed")
        return Reply(status, f"<ErrorResponse>{inside}</ErrorResponse>".encode(), {"Content-Type": "text/xml"})

    def action(self, request: Request) -> str:
        """Return the action that a request names."""
        return form_action(request)

    def perform(self, _request: Request, _region: str, action: str, _fault: str) -> Reply:
        """Do what is asked for."""
        if action != "GetCallerIdentity":
            raise NotDoneError("InvalidAction", f"Could not find operation {action}")
        who = {
            "Arn": f"arn:aws:iam::{self._owner}:user/rehearsal",
            "UserId": "AIDAREHEARSAL",
            "Account": self._owner,
        }
        said = xml(
            "GetCallerIdentityResponse",
            {"GetCallerIdentityResult": who, "ResponseMetadata": {"RequestId": "rehearsed"}},
        )
        return Reply(200, said.encode(), {"Content-Type": "text/xml"})


def form_action(request: Request) -> str:
    """Return the action that a form names, or nothing."""
    if request.method != "POST" or request.path != "/":
        return ""
    return parse_qs(request.body.decode("ascii", "replace")).get("Action", [""])[0]
