"""A call, from its name and parameters on the wire to its value: what xapi's generated dispatcher does."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from tests.fakes.xapi import devices, events, machines, power, storage, tasks
from tests.fakes.xapi.database import Database
from tests.fakes.xapi.failure import Failure
from tests.fakes.xapi.kinds import Record, Value, write
from tests.fakes.xapi.model import Class, Message
from tests.fakes.xapi.state import Ask, State

Served = Callable[..., Value]

SERVED: dict[str, Served] = {}
for _part in (tasks, storage, devices, machines, power, events):
    SERVED |= _part.SERVED
_CREATE: dict[str, Served] = {
    "VDI": storage.create,
    "VBD": devices.create_vbd,
    "VIF": devices.create_vif,
    "VM": machines.create,
    "network": devices.create_network,
}
_DESTROY: dict[str, Served] = {
    "VDI": storage.destroy,
    "VBD": devices.destroy_vbd,
    "VIF": devices.destroy_vif,
    "VM": machines.destroy,
    "network": devices.destroy_network,
}
_FIND: dict[str, Served] = {
    "get_all": Database.all,
    "get_all_records": lambda db, table: {one: db.record(table, one) for one in db.all(table)},
    "get_record": Database.record,
    "get_by_uuid": Database.by_uuid,
    "get_by_name_label": lambda db, table, label: db.where(table, "name_label", label),
}
_ASYNC = "Async."
# These answer when something has happened; the others have the database for themselves.
_WAITING = frozenset({"event.from"})


def answer(state: State, host: int, call: str, params: list[Value], *, xml: bool) -> Value:
    """Return a call's value as it goes over the wire; a Failure as xapi makes it."""
    later = call.startswith(_ASYNC)
    name = call.removeprefix(_ASYNC)
    if name == "system.listMethods":
        return state.model.names()
    found = state.model.message(name)
    if found is None:
        raise _unknown(state, host, name, params)
    owner, message = found
    name = f"{owner.name}.{message.name}"
    ask, arguments = _unmarshal(Ask(state, host=host, xml=xml), name, message, params)
    if later and message.role not in {"", "create", "destroy"}:
        raise Failure("Fault", f"No async mode for this operation (rpc: {name})")
    if later:
        return _later(ask, owner, message, name, arguments)
    value = _perform(ask, owner, message, name, arguments)
    match message.role:
        case "get_record":
            return _fields(owner, value, xml=xml)
        case "get_all_records":
            return {ref: _fields(owner, record, xml=xml) for ref, record in value.items()}
    return "" if value is None else write(message.result, value, xml=xml)


def _unknown(state: State, host: int, name: str, params: list[Value]) -> Failure:
    """Return what is wrong with a call that is not served."""
    owner, _, message = name.partition(".")
    if owner in state.model.classes and message in state.model.classes[owner].unserved:
        return Failure("NOT_IMPLEMENTED", name)
    if params and isinstance(params[0], str):
        tasks.check(Ask(state, params[0], host=host))
    return Failure("MESSAGE_METHOD_UNKNOWN", name)


def _unmarshal(ask: Ask, name: str, message: Message, params: list[Value]) -> tuple[Ask, list[Value]]:
    """Return the call and its arguments, read by their types; the session is checked after that."""
    wanted = message.params
    own = int(bool(wanted) and wanted[0][0] == "session_id")
    short = len(wanted) - len(params)
    if not 0 <= short <= len(message.optional):
        expected = len(wanted) - own - len(message.optional)
        raise Failure("MESSAGE_PARAMETER_COUNT_MISMATCH", name, str(expected), str(len(params) - own))
    whole = [*params, *message.optional[len(message.optional) - short :]]
    values = [ask.state.model.wire.read(what, value) for (_, what), value in zip(wanted, whole, strict=True)]
    if not own:
        return ask, values
    ask = replace(ask, session=values[0])
    tasks.check(ask)
    return ask, values[1:]


def _perform(ask: Ask, owner: Class, message: Message, name: str, arguments: list[Value]) -> Value:
    if name in _WAITING:
        return SERVED[name](ask, *arguments)
    with ask.db.lock:
        if name in SERVED:
            # A reference to nothing is found out before anything is done.
            for (_, what), value in zip(reversed(message.params), reversed(arguments), strict=False):
                if what.name == "ref" and what.of in ask.state.model.classes and what.of != "session":
                    ask.db.get(what.of, value, "uuid")
            return SERVED[name](ask, *arguments)
        return _generic(ask, owner, message, arguments)


def _generic(ask: Ask, owner: Class, message: Message, arguments: list[Value]) -> Value:
    """Do what every class has: a message without code of its own."""
    table = owner.name
    if message.field:
        return _of_field(ask, table, message, arguments)
    if message.role == "create" and table in _CREATE:
        return _CREATE[table](ask, _constructed(ask, owner, arguments[0]))
    if message.role == "destroy" and table in _DESTROY:
        ask.db.get(table, arguments[0], "uuid")
        return _DESTROY[table](ask, arguments[0])
    if message.role in _FIND:
        return _FIND[message.role](ask.db, table, *arguments)
    raise Failure("NOT_IMPLEMENTED", f"{table}.{message.name}")


def _constructed(ask: Ask, owner: Class, record: Record) -> Record:
    """Return what a constructor is given, read by its fields; unknown ones xapi overlooks, and we note."""
    fields = {one.name: one for one in owner.constructor}
    for name in sorted(set(record) - set(fields)):
        ask.state.complaints.append(f"{owner.name}.create: no field {name}")
    for one in fields.values():
        if one.required and one.name not in record:
            raise Failure("INTERNAL_ERROR", f'Server_helpers.Dispatcher_FieldNotFound("{one.name}")')
    return {
        name: ask.state.model.wire.read(one.kind, record[name]) if name in record else one.default
        for name, one in fields.items()
    }


def _of_field(ask: Ask, table: str, message: Message, arguments: list[Value]) -> Value:
    """Read or change a field."""
    db, me, name = ask.db, arguments[0], message.field
    value = db.get(table, me, name)
    match message.role, arguments[1:]:
        case "get", []:
            return value
        case "set", [given]:
            value = given
        case "add_to", [key, given]:
            if key in value:
                raise Failure("MAP_DUPLICATE_KEY", table, name, me, key)
            value = {**value, key: given}
        case "remove_from", [key]:
            value = {one: each for one, each in value.items() if one != key}
        case "add", [given]:
            value = [*value, *([given] if given not in value else [])]
        case "remove", [given]:
            value = [one for one in value if one != given]
        case _:
            raise Failure("NOT_IMPLEMENTED", f"{table}.{message.name}")
    db.set(table, me, **{name: value})
    return ""


def _later(ask: Ask, owner: Class, message: Message, name: str, arguments: list[Value]) -> str:
    """Answer with a task, and do the work beside."""
    task = tasks.started(ask.state, f"{_ASYNC}{name}", session=ask.session)

    def work() -> None:
        try:
            value = _perform(replace(ask, task=task), owner, message, name, arguments)
        except Failure as failure:
            tasks.fail(ask.state, task, failure)
        else:
            tasks.complete(ask.state, task, tasks.text(message.result, value))

    threading.Thread(target=work, name=name, daemon=True).start()
    return task


def _fields(owner: Class, record: Record, *, xml: bool) -> Record:
    return {name: write(owner.fields[name].kind, value, xml=xml) for name, value in record.items()}


def delay(state: State) -> None:
    """Take the time that a call takes."""
    if state.settings.latency:
        time.sleep(state.settings.latency)
    state.settle()
