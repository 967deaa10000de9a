"""XML-RPC as xapi writes it: no white space, strings without a tag."""

from xml.sax.saxutils import escape
from xmlrpc.client import DateTime

from tests.fakes.xapi.kinds import Value


def value(what: Value) -> str:
    """Return a value's text, in its tag."""
    return f"<value>{_inner(what)}</value>"


def response(what: Value) -> str:
    """Return a whole answer."""
    return f'<?xml version="1.0"?><methodResponse><params><param>{value(what)}</param></params></methodResponse>'


def _inner(what: Value) -> str:
    match what:
        case dict():
            members = [
                f"<member><name>{escape(str(key))}</name>{value(one)}</member>" for key, one in what.items()
            ]
            return f"<struct>{''.join(members)}</struct>"
        case list() | tuple():
            return f"<array><data>{''.join(value(one) for one in what)}</data></array>"
    return _scalar(what)


def _scalar(what: Value) -> str:
    match what:
        case bool():
            return f"<boolean>{int(what)}</boolean>"
        case int():
            return f"<i4>{what}</i4>"
        case float():
            return f"<double>{what!r}</double>"
        case DateTime():
            return f"<dateTime.iso8601>{what.value}</dateTime.iso8601>"
    return escape(str(what))
