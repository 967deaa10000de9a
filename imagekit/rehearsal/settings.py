"""What a rehearsed account is like, and how its services behave."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from imagekit.errors import UsageError
from imagekit.rehearsal.sigv4 import Keys

PARAVIRTUAL_REGIONS = (
    "us-east-1",
    "us-west-1",
    "us-west-2",
    "eu-west-1",
    "eu-central-1",
    "ap-northeast-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "sa-east-1",
)


@dataclass(frozen=True)
class AccountSettings:
    """The account, and how its services behave: rates a second, delays in seconds."""

    keys: Keys = field(default_factory=Keys)
    owner: str = "123456789012"
    regions: tuple[str, ...] = (*PARAVIRTUAL_REGIONS, "eu-north-1", "eu-west-2", "eu-south-2")
    buckets: tuple[str, ...] = ()  # NAME@REGION, there from the start
    encrypted: frozenset[str] = frozenset()  # the regions that encrypt by default
    denied: frozenset[str] = frozenset()  # the actions that the keys may not do
    private: bool = False  # no image may be shared with everybody
    settle: float = 0.0  # after StartSnapshot a snapshot does not exist for so long
    seal: float = 0.0  # after CompleteSnapshot it is pending for so long
    copying: float = 0.0  # after CopySnapshot or CopyImage the copy is pending for so long
    image_settle: float = 0.0  # after RegisterImage an image does not exist for so long
    registering: float = 0.0  # after RegisterImage an image is pending for so long
    minute: float = 60.0  # what a minute of StartSnapshot's Timeout takes
    latency: float = 0.0
    pending: int = 100
    put_rate: float = 1000.0
    write_rate: float = 10.0
    read_rate: float = 1000.0
    list_rate: float = 50.0
    ec2_read_rate: float = 20.0
    ec2_read_burst: float = 100.0
    ec2_write_rate: float = 5.0
    ec2_write_burst: float = 50.0
    faults: tuple[str, ...] = ()

    def with_json(self, text: str) -> "AccountSettings":
        """Return these settings changed by an object of JSON; UsageError says what is wrong with it."""
        try:
            given = json.loads(text)
        except ValueError as error:
            raise UsageError(f"settings that are no JSON: {error}") from error
        if not isinstance(given, dict):
            raise UsageError("settings are an object of JSON")
        known = {one.name: _READERS[str(one.type)] for one in fields(self) if str(one.type) in _READERS}
        keys = {name: given.pop(name) for name in ("access", "secret", "token") if name in given}
        if unknown := set(given) - set(known):
            raise UsageError(
                f"no such setting: {', '.join(sorted(unknown))}", hint=f"there are {', '.join(known)}"
            )
        try:
            read = {name: known[name](value) for name, value in given.items()}
        except (TypeError, ValueError) as error:
            raise UsageError(f"a setting has a value that it cannot have: {error}") from error
        return replace(self, keys=replace(self.keys, **keys), **read)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError(f"{value!r} is no list of strings")
    return tuple(value)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise TypeError(f"{value!r} is no number from 0 on")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "<class 'str'>": str,
    "<class 'bool'>": _flag,
    "<class 'float'>": _number,
    "<class 'int'>": lambda value: int(_number(value)),
    "tuple[str, ...]": _texts,
    "frozenset[str]": lambda value: frozenset(_texts(value)),
}
