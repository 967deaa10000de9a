"""xapi's datamodel as of one release: classes, fields, messages. The data: datamodel.json."""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.fakes.xapi.kinds import Kind, Record, Value, Wire, blank, kind

_SESSION = ("session_id", kind("session ref"))
# Parameters at the end that may be left out; xenapi.json does not tell.
_OPTIONAL: dict[str, tuple[str, ...]] = {"session.login_with_password": ("1.0", "")}

# Values of enums that came later than their enum; xenapi.json does not tell.
_LATE = {"pvh": "23.9.0"}


@dataclass(frozen=True)
class Field:
    """A field: its access is RO/runtime, RO/constructor or RW."""

    name: str
    kind: Kind
    access: str
    default: Value
    required: bool


@dataclass(frozen=True)
class Message:
    """A message. `role` tells those that need no code of their own: get, set, add_to, remove_from, add, remove."""

    name: str
    params: tuple[tuple[str, Kind], ...]
    result: Kind
    role: str = ""
    field: str = ""
    optional: tuple[str, ...] = ()


@dataclass(frozen=True)
class Class:
    """A class of objects."""

    name: str
    fields: dict[str, Field]
    messages: dict[str, Message]
    unserved: frozenset[str] = field(default_factory=frozenset)

    @property
    def constructor(self) -> list[Field]:
        """The fields that create() takes."""
        return [one for one in self.fields.values() if one.access != "RO/runtime"]


class Model:
    """The datamodel of a release: named ("creedence", "stockholm") or numbered ("24.39.1")."""

    def __init__(self, release: str) -> None:
        data = _data()
        self._release = _order(release, data["releases"])
        self._releases: list[str] = data["releases"]
        late = {value for value, since in _LATE.items() if _order(since, self._releases) > self._release}
        self.wire = Wire({name: [one for one in each if one not in late] for name, each in data["enums"].items()})
        self.classes = {name: self._class(name, one) for name, one in data["classes"].items() if self.has(one)}

    def has(self, one: Record) -> bool:
        """Tell whether the release has what came and went with these releases."""
        since = _order(one.get("since", "rio"), self._releases)
        until = one.get("until")
        gone = until is not None and _order(until, self._releases) <= self._release
        return since <= self._release and not gone

    def message(self, call: str) -> tuple[Class, Message] | None:
        """Return what a call names, `VM.start` or `VM_start`."""
        owner, _, name = call.partition(".")
        if not name:
            owner = max((one for one in self.classes if call.startswith(f"{one}_")), key=len, default="")
            name = call[len(owner) + 1 :]
        found = self.classes.get(owner)
        return (found, found.messages[name]) if found and name in found.messages else None

    def names(self) -> list[str]:
        """Return the names of all messages, what is not served included."""
        return [
            f"{one.name}.{name}"
            for one in self.classes.values()
            for name in sorted({*one.messages, *one.unserved})
        ]

    def _class(self, name: str, one: Record) -> Class:
        fields = {key: self._field(key, each) for key, each in one["fields"].items() if self.has(each)}
        messages = {key: _message(name, key, each) for key, each in one["messages"].items() if self.has(each)}
        if name != "event":
            messages |= {each.name: each for each in _derived(name, fields)}
        messages |= {each: _implicit(name, each) for each in one["implicit"]}
        return Class(name, fields, messages, frozenset(one["unserved"]))

    def _field(self, name: str, one: Record) -> Field:
        what = kind(one["type"])
        given = one["default"] if "default" in one else blank(what, self.wire)
        return Field(name, what, one["kind"], given, "default" not in one)


@cache
def _data() -> Record:
    data: Record = json.loads(Path(__file__).with_name("datamodel.json").read_text())
    return data


def _order(release: str, named: list[str]) -> tuple[int, tuple[int, ...]]:
    """Releases with a name came first; 1.250 and later are numbers."""
    if release in named:
        return named.index(release), ()
    return len(named), tuple(int(part) for part in release.split("."))


def _message(owner: str, name: str, one: Record) -> Message:
    params = tuple((each, kind(what)) for each, what in one["params"])
    return Message(name, params, kind(one["result"]), optional=_OPTIONAL.get(f"{owner}.{name}", ()))


def _derived(owner: str, fields: dict[str, Field]) -> list[Message]:
    me = (_SESSION, ("self", Kind("ref", owner)))
    void = kind("void")
    found: list[Message] = []
    for name, one in fields.items():
        found.append(Message(f"get_{name}", me, one.kind, "get", name))
        if one.access != "RW":
            continue
        found.append(Message(f"set_{name}", (*me, ("value", one.kind)), void, "set", name))
        inner = one.kind.inner or void
        if one.kind.name == "map":
            key = ("key", one.kind.key or void)
            found.append(Message(f"add_to_{name}", (*me, key, ("value", inner)), void, "add_to", name))
            found.append(Message(f"remove_from_{name}", (*me, key), void, "remove_from", name))
        elif one.kind.name == "set":
            found += [
                Message(f"{role}_{name}", (*me, ("value", inner)), void, role, name) for role in ("add", "remove")
            ]
    return found


def _implicit(owner: str, name: str) -> Message:
    """A message that most classes have; it is its own role."""
    ref, record = Kind("ref", owner), Kind("record", owner)
    refs = Kind("set", inner=ref)
    params, result = {
        "get_all": ((), refs),
        "get_all_records": ((), Kind("map", key=ref, inner=record)),
        "get_record": ((("self", ref),), record),
        "get_by_uuid": ((("uuid", kind("string")),), ref),
        "get_by_name_label": ((("label", kind("string")),), refs),
        "create": ((("args", record),), ref),
        "destroy": ((("self", ref),), kind("void")),
    }[name]
    return Message(name, (_SESSION, *params), result, name)
