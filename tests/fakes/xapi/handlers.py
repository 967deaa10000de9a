"""What the HTTP handlers beside RPC have in common: who asks, for which task, and at which host."""

from dataclasses import dataclass
from urllib.parse import urlencode

from tests.fakes.xapi import tasks
from tests.fakes.xapi.failure import Failure
from tests.fakes.xapi.faults import Fault
from tests.fakes.xapi.http import Exchange
from tests.fakes.xapi.state import Ask, State


@dataclass
class Put:
    """A request to a handler. Without a task_id it has a task of its own."""

    state: State
    exchange: Exchange
    host: int
    fault: Fault
    port: int
    task: str = ""
    own: bool = False

    @property
    def ask(self) -> Ask:
        """The call that the request is."""
        return Ask(self.state, self.exchange.query.get("session_id", ""), self.task, self.host)


def authorised(put: Put, realm: str) -> bool:
    """Answer 401 and fail the task unless the session is one; else see to the task."""
    query, db = put.exchange.query, put.state.db
    put.task = query.get("task_id", "")
    if not db.has("session", query.get("session_id", "")):
        tasks.fail(put.state, put.task, Failure("SESSION_AUTHENTICATION_FAILED"))
        put.exchange.send(401, close=True, www_authenticate=f'Basic realm="{realm}"')
        return False
    if put.task and not db.has("task", put.task):
        unanswered(put)
        return False
    if not put.task:
        put.task, put.own = tasks.started(put.state, realm, session=query["session_id"]), True
    return True


def redirect(put: Put, sr: str) -> bool:
    """Answer 302 when another host has the SR, or the fault says so."""
    seen = [one for one in plugs(put.state, sr) if one >= 0]
    if put.fault.kind != "redirect" and (put.host in seen or not seen):
        return False
    host = put.host if put.fault.kind == "redirect" else seen[0]
    address = put.state.settings.hosts[host].address
    name = f"[{address}]" if ":" in address else address
    where = f"https://{name}:{put.port}{put.exchange.path}?{urlencode(put.exchange.query)}"
    put.exchange.head(302, location=where)
    return True


def unanswered(put: Put) -> None:
    """Answer 500, as xapi does for an exception that no handler expected."""
    put.exchange.send(500, b"<html><body><h1>HTTP 500 internal server error</h1></body></html>", close=True)


def plugs(state: State, sr: str) -> list[int]:
    """Return the hosts, by number, that have an SR plugged in."""
    plugs = [state.db.record("PBD", one) for one in state.db.get("SR", sr, "PBDs")]
    return [state.hosts.index(one["host"]) for one in plugs if one["currently_attached"]]
