"""One project in one region of a cloud, by openstacksdk: clouds.yaml, OS_* and application credentials work.

What goes wrong is told in three kinds: UsageError for an account that is not set up, RefusedError for an answer
that says no, LostError for no answer, for 5xx, 408 and 429, after which the same call may work.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from typing import Any, TypeVar

import openstack
from keystoneauth1 import exceptions as identity
from openstack import exceptions as sdk
from openstack.connection import Connection
from requests import RequestException, Response

from imagekit.errors import PublishError, UsageError
from imagekit.version import __version__

Answer = TypeVar("Answer")
Wait = Callable[[float], bool]
"""Lets some seconds pass: `Course.wait`, or `course.wait` where nothing is published."""
ANSWER = 60.0
"""Seconds that a server may take for an answer to what is no upload."""
_ATTEMPTS = 3
_SERVER = 500
_LATER = {408, 429}  # it has waited for too long, or was asked too often
_GONE = 404
_MOST_WORDS = 300


class RefusedError(PublishError):
    """A server said no."""

    def __init__(self, brief: str, status: int, details: str = "", hint: str = "") -> None:
        super().__init__(brief, details=details, hint=hint)
        self.status = status


class LostError(PublishError):
    """No answer, or one that says that the server is in trouble."""


@dataclass(frozen=True)
class Cloud:
    """A connection; `name` is the cloud's in clouds.yaml, `region` its region."""

    connection: Connection
    name: str
    region: str
    project: str
    auth_url: str

    @property
    def place(self) -> str:
        """Its name in receipts."""
        return f"{self.name}/{self.region}"

    @property
    def image(self) -> Any:  # noqa: ANN401 -- the SDK's adapter, of which its stubs know too little
        """Glance."""
        return self.connection.image

    @property
    def objects(self) -> Any:  # noqa: ANN401
        """Swift."""
        return self.connection.object_store

    @property
    def compute(self) -> Any:  # noqa: ANN401
        """Nova."""
        return self.connection.compute

    def has(self, service: str) -> bool:
        """Tell whether the cloud's catalog has a service."""
        with told("the cloud's catalog"):
            return self.connection.has_service(service)


@contextmanager
def cloud(name: str | None, region: str | None) -> Iterator[Cloud]:
    """Lend the cloud of a name in clouds.yaml, or of the OS_* variables; its region, or the cloud's own.

    UsageError when there is no such account; RefusedError when it is not let in.
    """
    try:
        connection = openstack.connect(
            cloud=name, region_name=region, app_name="imagekit", app_version=__version__, api_timeout=ANSWER
        )
    except (sdk.ConfigException, identity.MissingRequiredOptions, identity.NoMatchingPlugin) as error:
        if region is not None and "not a valid region" in str(error):
            raise UsageError(
                f"the cloud has no region {region}",
                details=str(error)[:_MOST_WORDS],
                hint="a cloud's regions are listed in clouds.yaml; the OS_* variables name one",
            ) from None
        raise UsageError(
            "no account of an OpenStack cloud is named",
            details=str(error)[:_MOST_WORDS],
            hint="--os-cloud NAME of clouds.yaml, or OS_CLOUD, or OS_AUTH_URL and its kin",
        ) from None
    with connection:
        config = connection.config
        with told("the cloud's identity service"):
            project = str(connection.current_project_id or "")
        auth_url = str(config.config.get("auth", {}).get("auth_url", ""))
        yield Cloud(connection, str(config.name), str(config.region_name or "-"), project, auth_url)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Tell the SDK's errors in our own words; `what` was asked."""
    try:
        yield
    except sdk.HttpException as error:
        raise _said(what, int(error.status_code or 0), str(error.details or error.message)) from None
    except identity.HttpError as error:
        raise _said(what, int(error.http_status), str(error.message)) from None
    except (identity.EndpointNotFound, identity.CatalogException, sdk.EndpointNotFound) as error:
        raise RefusedError(f"{what}: the cloud has no such service", _GONE, words_of(str(error))) from None
    except (identity.ClientException, sdk.SDKException, RequestException) as error:
        raise LostError(f"{what}: the connection failed", details=words_of(str(error))) from None


def persistent(call: Callable[[], Answer], wait: Wait) -> Answer:
    """Return the answer to a call that may be repeated; LostError when there was none several times."""
    for left in reversed(range(_ATTEMPTS)):
        wait(0.0)  # where a signal is noticed
        try:
            return call()
        except LostError:
            if not left:
                raise
            wait(_ATTEMPTS - left)
    raise AssertionError  # the last attempt returns or raises


def answered(response: Response, what: str) -> Response:
    """Return an answer that says yes."""
    if not response.ok:
        raise _said(what, response.status_code, response.text)
    return response


def words_of(text: str) -> str:
    """Return a server's words in one line: no markup, no query of a URL, which may hold a signature."""
    plain = unescape(re.sub(r"<(title|head)>.*?</\1>|<[^<>]*>", " ", text, flags=re.DOTALL))
    return re.sub(r"\s+", " ", re.sub(r"\?[^\s'\"]+", "?…", plain)).strip()[:_MOST_WORDS]


def _said(what: str, status: int, text: str) -> PublishError:
    words = words_of(text)
    if status >= _SERVER or status in _LATER or not status:
        return LostError(f"{what}: the server is in trouble ({status})", details=words)
    reason, hint = _REASONS.get(status, ("refused", ""))
    if "quota" in words.lower():
        reason, hint = "the project's quota is reached", "remove old images, or ask for more"
    return RefusedError(f"{what}: {reason} ({status})", status, words, hint)


_REASONS = {
    401: ("not let in", "the name, password or token is wrong"),
    403: ("not allowed", "the project's role does not let you"),
    404: ("not there", ""),
    409: ("in the way of something else", ""),
    413: ("too large, or the project's quota is reached", ""),
    415: ("the cloud does not take this kind of image", 'openstack.format is "ovf", "vhd" or "raw"'),
}
