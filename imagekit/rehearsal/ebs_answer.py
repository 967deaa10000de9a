"""Answers of the EBS direct APIs: JSON, pages of blocks, and refusals as botocore reads them."""

import json
import time
from typing import Any

from imagekit.rehearsal.http import Reply
from imagekit.rehearsal.snapshots import BLOCK, Snapshot

_EXPIRY = 7 * 24 * 3600  # seconds that a block token holds


class Refused(Exception):  # noqa: N818 -- an answer, not a failure of ours
    """An error answer."""

    def __init__(self, status: int, code: str, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reply = Reply(
            status,
            json.dumps({"Message": message} | ({"Reason": reason} if reason else {})).encode(),
            {"x-amzn-ErrorType": code, "Content-Type": "application/json"},
        )


def invalid(message: str, reason: str = "INVALID_PARAMETER_VALUE") -> Refused:
    """Return the refusal of a parameter."""
    return Refused(400, "ValidationException", message, reason)


def fail(action: str, fault: str) -> None:
    """Refuse a call because a script of faults says so."""
    if fault == "500":
        raise Refused(500, "InternalServerException", "An internal error has occurred")
    if fault == "503":
        raise Refused(503, "ServiceUnavailable", "Service is unable to handle request")
    if fault == "throttle":
        raise throttled(action)
    if fault == "denied":
        raise denied(action)


def denied(action: str) -> Refused:
    """Return the refusal of an action that the keys may not do."""
    message = f"User is not authorized to perform: ebs:{action}"
    return Refused(403, "AccessDeniedException", message, "UNAUTHORIZED_ACCOUNT")


def throttled(action: str) -> Refused:
    """Return the refusal of a call that came too soon."""
    if action in {"PutSnapshotBlock", "GetSnapshotBlock"}:
        message = "The request rate for the snapshot is too high."
        return Refused(400, "RequestThrottledException", message, "RESOURCE_LEVEL_THROTTLE")
    return Refused(400, "ThrottlingException", "Rate exceeded")


def as_json(said: dict[str, Any], status: int = 200) -> Reply:
    """Return an answer of JSON."""
    return Reply(status, json.dumps(said).encode(), {"Content-Type": "application/json"})


def listed(snapshot: Snapshot, name: str, found: list[dict[str, Any]], following: str) -> Reply:
    """Return a page of blocks."""
    said = {
        name: found,
        "BlockSize": BLOCK,
        "VolumeSize": snapshot.volume_size,
        "ExpiryTime": time.time() + _EXPIRY,
    }
    return as_json(said | ({"NextToken": following} if following else {}))
