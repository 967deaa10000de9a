# ruff: noqa: ANN401 -- boto3 has no types
"""The account: boto3's clients by region, and what the block put needs of the same session.

Credentials, regions, endpoints and certificates are botocore's business, by its own variables and files; beside
AWS_* the names of the EC2 command line tools are honoured: EC2_ACCESS and EC2_ACCESS_SECRET.
"""

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
)
from botocore.parsers import ResponseParserError

from imagekit.errors import ImagekitError, PublishError
from imagekit.publish.aws.signing import Credentials

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=20,
    retries={"mode": "standard", "total_max_attempts": 8},  # the one layer of retries
    max_pool_connections=64,
    user_agent_extra="imagekit",
    s3={"addressing_style": "auto"},
)
_LONGEST = 400  # characters of a server's words


class Account:
    """Clients of one account. `given` is where a rehearsed one is (see `Order.account`), {} for AWS itself."""

    def __init__(self, environment: Mapping[str, str], given: Mapping[str, str]) -> None:
        self._given = dict(given)
        self._lock = Lock()
        core = botocore.session.get_session()
        keys: dict[str, str | None] = {}
        if given:
            keys = {"aws_access_key_id": given["access"], "aws_secret_access_key": given["secret"]}
        elif "AWS_ACCESS_KEY_ID" not in environment and environment.get("EC2_ACCESS"):
            keys = {
                "aws_access_key_id": environment["EC2_ACCESS"],
                "aws_secret_access_key": environment.get("EC2_ACCESS_SECRET", ""),
            }
        with told("the AWS settings"):
            self._session: Any = boto3.Session(botocore_session=core, **keys)
            self._authority: str | None = given.get("certificate") or core.get_config_variable("ca_bundle")
            self.default_region: str | None = self._session.region_name
        self._client = cache(self._new_client)

    def client(self, service: str, region: str) -> Any:
        """Return the client of a service in a region, the same one each time."""
        with self._lock:  # making one is not safe between threads; using one is
            return self._client(service, region)

    def credentials(self) -> Credentials:
        """Return the credentials of now: botocore refreshes them."""
        with told("the AWS credentials"):
            found = self._session.get_credentials()
            frozen = found and found.get_frozen_credentials()
        if not frozen or not frozen.access_key:
            raise PublishError(
                "there are no AWS credentials",
                hint="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, `aws configure`, or a role; or try --rehearse",
            )
        return frozen.access_key, frozen.secret_key, frozen.token

    def trust(self) -> ssl.SSLContext:
        """Return a TLS context that trusts whom botocore would."""
        return ssl.create_default_context(cafile=self._authority)

    def _new_client(self, service: str, region: str) -> Any:
        with told("the AWS settings"):
            made = self._session.client(
                service,
                region_name=region,
                config=_CONFIG,
                endpoint_url=self._given.get("url"),
                verify=self._authority,
            )
        made.meta.events.register("before-send", _Whole(made._endpoint.http_session))  # noqa: SLF001
        return made


class _Whole:
    """Sends requests for a client, and takes half an answer for a broken connection: botocore would parse it."""

    def __init__(self, sender: Any) -> None:
        self._sender = sender

    def __call__(self, request: Any, **_: object) -> Any:
        answer = self._sender.send(request)
        stated = answer.headers.get("Content-Length")
        if (
            request.method != "HEAD"
            and not request.stream_output
            and stated not in {None, str(len(answer.content))}
        ):
            raise ConnectionClosedError(endpoint_url=request.url)
        return answer


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn the SDK's errors into ours: what was being done, what the server said, and what to do about it."""
    try:
        yield
    except ClientError as error:
        raise refused(what, error) from error
    except (EndpointConnectionError, HTTPClientError) as error:
        raise PublishError(f"{what}: the server cannot be reached", details=_short(str(error))) from error
    except ResponseParserError as error:
        raise PublishError(f"{what}: AWS's answer cannot be read", details=_short(str(error))) from error
    except BotoCoreError as error:
        hint = (
            "`aws configure`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" if "redential" in str(error) else ""
        )
        raise PublishError(f"{what}: {_short(str(error))}", hint=hint) from error


def code_of(error: BaseException | None) -> str:
    """Return the code of a refusal, also of one that `told` has wrapped; "" for another error."""
    while error is not None:
        if isinstance(error, ClientError):
            return str(error.response.get("Error", {}).get("Code", ""))
        error = error.__cause__
    return ""


def refused(what: str, error: ClientError) -> ImagekitError:
    """Return the error for a refusal."""
    code = code_of(error)
    said = str(error.response.get("Error", {}).get("Message", ""))
    hint = ""
    if "Unauthorized" in code or "AccessDenied" in code or code == "AuthFailure":
        hint = "the policy of these credentials does not allow it: docs/how-to/ec2.md lists what is needed"
    elif "Expired" in code:
        hint = "sign in again"
    elif "Signature" in code or "InvalidClientTokenId" in code or "UnrecognizedClient" in code:
        hint = "look at the access key, the secret key and this machine's clock"
        said = ""  # it may repeat the token
    return PublishError(f"{what}: AWS answered {code or 'with an error'}", details=_short(said), hint=hint)


def pages(client: Any, operation: str, key: str, **asked: Any) -> list[Any]:
    """Return the items of all pages of a list."""
    found: list[Any] = []
    for page in client.get_paginator(operation).paginate(**asked):
        found += page.get(key, [])
    return found


Wait = Callable[[float], bool]
"""Sleep so many seconds; False when the user ends it."""


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
