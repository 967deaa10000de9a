"""event.from: what changed since a token, waited for; event.inject."""

import time
from collections.abc import Callable

from tests.fakes.xapi.kinds import EPOCH, Record, write
from tests.fakes.xapi.state import Ask

_TICK = 0.05
_LONGEST = 60.0


def since(ask: Ask, classes: list[str], token: str, timeout: float) -> Record:
    """Wait for changes of classes (`*`, `task`, or `task/OpaqueRef:…`), and return them."""
    seen = int(token.split(",", 1)[0]) if token else 0
    patterns = {one.lower() for one in classes}

    def wanted(table: str, reference: str) -> bool:
        name = table.lower()
        return bool(patterns & {"*", name, f"{name}/{reference.lower()}"})

    until = time.monotonic() + min(timeout, _LONGEST)
    with ask.db.changed:
        while True:
            ask.state.settle()
            events = _events(ask, seen, wanted)
            if events or time.monotonic() >= until:
                counts = {name.lower(): len(ask.db.all(name)) for name in ask.state.model.classes}
                return {"events": events, "valid_ref_counts": counts, "token": f"{ask.db.serial},0"}
            ask.db.changed.wait(_TICK)


def _events(ask: Ask, seen: int, wanted: Callable[[str, str], bool]) -> list[Record]:
    db = ask.db
    found = [
        _event(serial, operation, table, ref) | {"snapshot": _snapshot(ask, table, ref)}
        for serial, operation, table, ref in db.since(seen, wanted)
    ]
    # Who asks for the first time is told of what there is only.
    gone = db.gone if seen else []
    return found + [_event(at, "del", table, ref) for at, table, ref in gone if at > seen and wanted(table, ref)]


def _event(serial: int, operation: str, table: str, ref: str) -> Record:
    return {"id": str(serial), "timestamp": EPOCH, "class": table.lower(), "operation": operation, "ref": ref}


def _snapshot(ask: Ask, table: str, ref: str) -> Record:
    """Return a record for the wire: what an event holds has no type in the datamodel."""
    fields = ask.state.model.classes[table].fields
    return {
        name: write(fields[name].kind, value, xml=ask.xml) for name, value in ask.db.record(table, ref).items()
    }


def inject(ask: Ask, name: str, ref: str) -> str:
    """Make an event of an object that did not change; return the token of the moment."""
    table = next((one for one in ask.state.model.classes if one.lower() == name.lower()), name)
    ask.db.set(table, ref)
    return f"{ask.db.serial},0"


SERVED = {"event.from": since, "event.inject": inject}
