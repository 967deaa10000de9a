"""XML-RPC on / and JSON-RPC on /jsonrpc."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from xml.parsers.expat import ExpatError
from xmlrpc.client import ResponseError, loads

from tests.fakes.xapi.failure import Failure
from tests.fakes.xapi.kinds import Record, Value
from tests.fakes.xapi.xml import response

LARGEST = 300 * 1024


@dataclass(frozen=True)
class Asked:
    """A call as it came; `reply` gives the body for what is answered."""

    call: str
    params: list[Value]
    xml: bool
    content_type: str
    reply: Callable[[Value | Failure], bytes]


def xml(body: bytes) -> Asked | None:
    """Read XML-RPC; None where it is not."""
    try:
        params, call = loads(body)
    except (ExpatError, ResponseError, ValueError, TypeError, LookupError, AttributeError):
        return None
    return Asked(str(call), list(params), xml=True, content_type="text/xml", reply=_xml_reply) if call else None


def _xml_reply(value: Value | Failure) -> bytes:
    whole: Record = {"Status": "Success", "Value": value}
    if isinstance(value, Failure):
        whole = {"Status": "Failure", "ErrorDescription": value.description}
    return response(whole).encode()


def jsonic(body: bytes) -> Asked | None:
    """Read JSON-RPC, 1.0 or 2.0; None where it is not."""
    try:
        asked = json.loads(body)
        call, params, new = str(asked["method"]), list(asked["params"]), asked.get("jsonrpc") == "2.0"
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
    ident = asked.get("id")

    def reply(value: Value | Failure) -> bytes:
        return json.dumps(_json(value, new=new) | {"id": ident}).encode()

    return Asked(call, params, xml=False, content_type="application/json", reply=reply)


def _json(value: Value | Failure, *, new: bool) -> Record:
    if not isinstance(value, Failure):
        return {"jsonrpc": "2.0", "result": value} if new else {"error": None, "result": value}
    if not new:
        return {"error": value.description, "result": None}
    return {"jsonrpc": "2.0", "error": {"code": 1, "message": value.code, "data": list(value.params)}}
