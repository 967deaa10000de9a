"""CONNECT /console: a guest's text console, which tells what is written after one asked, and nothing from before.

Facts: xapi-project/xen-api, ocaml/xapi/console.ml (who is answered, and that anything unexpected is an exception),
xenserver/vncterm, libvnc/textterm.c (a client hears what comes from then on).
"""

import time

from tests.fakes.xapi.failure import Failure
from tests.fakes.xapi.handlers import Put, authorised, unanswered
from tests.fakes.xapi.http import Exchange
from tests.fakes.xapi.state import State

_TURN = 0.02  # seconds


def add(state: State, vm: str, host: int) -> None:
    """Give a VM that starts at a host its console."""
    made = state.db.add("console", VM=vm, protocol="vt100")
    address = state.settings.hosts[host].address
    name = f"[{address}]" if ":" in address else address
    state.db.set("console", made, location=f"https://{name}/console?uuid={state.db.get('console', made, 'uuid')}")


def follow(put: Put) -> None:
    """Send what a guest writes, until it ends or nobody listens."""
    if not authorised(put, "Connection to VM console"):
        return
    state, db = put.state, put.state.db
    vm = _running_here(put)
    if not vm or put.fault.kind == "code":
        unanswered(put)
        return
    domain, began = db.get("VM", vm, "domid"), state.began[vm]
    put.exchange.head(200)
    since = time.monotonic() - began
    left = [said for said in state.settings.says if said[0] >= since]
    while _listens(put.exchange) and _lives(state, vm, domain):
        while left and left[0][0] <= time.monotonic() - began:
            put.exchange.socket.sendall(left.pop(0)[1])


def _running_here(put: Put) -> str:
    """Return the VM of the console that is named; nothing for one that does not run at this host."""
    db, query = put.state.db, put.exchange.query
    try:
        console = db.by_uuid("console", query["uuid"]) if "uuid" in query else query["ref"]
        vm: str = db.get("console", console, "VM")
    except (Failure, KeyError):
        return ""
    here = db.get("VM", vm, "resident_on") == put.state.hosts[put.host]
    return vm if here and db.get("VM", vm, "power_state") == "Running" else ""


def _lives(state: State, vm: str, domain: int) -> bool:
    state.settle()
    with state.db.lock:
        return state.db.has("VM", vm) and bool(state.db.get("VM", vm, "domid") == domain)


def _listens(exchange: Exchange) -> bool:
    """Wait for a turn; tell whether the client, who says nothing, is still there."""
    exchange.socket.settimeout(_TURN)
    try:
        return bool(exchange.socket.recv(1)) and not exchange.closed.is_set()
    except TimeoutError:
        return not exchange.closed.is_set()
