"""xapi's database: tables of records by reference, references back, and what changed when."""

import uuid
from collections.abc import Callable
from threading import Condition, RLock

from tests.fakes.xapi.failure import Failure
from tests.fakes.xapi.kinds import NULL, Record, Value
from tests.fakes.xapi.model import Model

# Sets of references that are not stored, but follow from the other side: class, field, class and field there.
_BACK = {
    ("VM", "VBDs"): ("VBD", "VM"),
    ("VM", "VIFs"): ("VIF", "VM"),
    ("VM", "consoles"): ("console", "VM"),
    ("VDI", "VBDs"): ("VBD", "VDI"),
    ("SR", "VDIs"): ("VDI", "SR"),
    ("SR", "PBDs"): ("PBD", "SR"),
    ("host", "PBDs"): ("PBD", "host"),
    ("host", "PIFs"): ("PIF", "host"),
    ("host", "resident_VMs"): ("VM", "resident_on"),
    ("network", "VIFs"): ("VIF", "network"),
    ("network", "PIFs"): ("PIF", "network"),
    ("task", "subtasks"): ("task", "subtask_of"),
    ("session", "tasks"): ("task", "session"),
}


class Database:
    """All there is. Every method takes the lock; who needs several in one go takes it around them."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.lock = RLock()
        self.changed = Condition(self.lock)
        self.serial = 0
        self.gone: list[tuple[int, str, str]] = []
        self._tables: dict[str, dict[str, Record]] = {name: {} for name in model.classes}
        self._born: dict[str, int] = {}
        self._touched: dict[str, int] = {}

    def add(self, table: str, **given: Value) -> str:
        """Enter an object; fields that are not given hold their defaults. Return its reference."""
        fields = self.model.classes[table].fields
        row = {name: _fresh(one.default) for name, one in fields.items()}
        reference = f"OpaqueRef:{uuid.uuid4()}"
        with self.lock:
            self._tables[table][reference] = row | {"uuid": str(uuid.uuid4())} | given
            self._born[reference] = self._touch(table, reference)
        return reference

    def has(self, table: str, reference: str) -> bool:
        """Tell whether there is such an object."""
        with self.lock:
            return reference in self._tables[table]

    def get(self, table: str, reference: str, field: str) -> Value:
        """Return a field, one that follows from the other side too."""
        back = _BACK.get((table, field))
        with self.lock:
            row = self._row(table, reference)
            return self.where(*back, reference) if back else row.get(field)

    def record(self, table: str, reference: str) -> Record:
        """Return a whole record, as the release has it."""
        with self.lock:
            self._row(table, reference)
            return {name: _fresh(self.get(table, reference, name)) for name in self.model.classes[table].fields}

    def set(self, table: str, reference: str, **given: Value) -> None:
        """Change fields."""
        with self.lock:
            self._row(table, reference).update(given)
            self._touch(table, reference)

    def drop(self, table: str, reference: str) -> None:
        """Take an object away."""
        with self.lock:
            self._row(table, reference)
            self.gone.append((self._touch(table, reference), table, reference))
            del self._tables[table][reference], self._born[reference], self._touched[reference]

    def all(self, table: str) -> list[str]:
        """Return the references of a class."""
        with self.lock:
            return list(self._tables[table])

    def where(self, table: str, field: str, value: Value) -> list[str]:
        """Return the references of objects with a field of this value."""
        with self.lock:
            return [ref for ref, row in self._tables[table].items() if row.get(field) == value]

    def by_uuid(self, table: str, name: str) -> str:
        """Return the reference of the object with this UUID."""
        found = self.where(table, "uuid", name)
        if not found:
            raise Failure("UUID_INVALID", table, name)
        return found[0]

    def since(self, serial: int, wanted: Callable[[str, str], bool]) -> list[tuple[int, str, str, str]]:
        """Return serial, operation (add or mod), class and reference of what changed after a serial."""
        with self.lock:
            return sorted(
                (self._touched[ref], "add" if self._born[ref] > serial else "mod", table, ref)
                for table, rows in self._tables.items()
                for ref in rows
                if wanted(table, ref) and self._touched[ref] > serial
            )

    def _row(self, table: str, reference: str) -> Record:
        row = self._tables[table].get(reference)
        if row is None:
            raise Failure("HANDLE_INVALID", table, reference)
        return row

    def _touch(self, table: str, reference: str) -> int:
        self.serial += 1
        self._touched[reference] = self.serial
        for (other, _), (here, field) in _BACK.items():
            owner = self._tables[here].get(reference, {}).get(field, NULL) if here == table else NULL
            if owner in self._tables[other]:
                self._touched[owner] = self.serial
        self.changed.notify_all()
        return self.serial


def _fresh(value: Value) -> Value:
    """A list or dict of one's own."""
    return value.copy() if isinstance(value, list | dict) else value
