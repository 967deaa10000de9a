"""An image's disk in a pool: found whole, or made and filled, by one of several runs at once.

VDIs carry their publication, their run and whether they are whole in `other_config`. XAPI locks nothing for us, so
of two runs that began in the same moment the one with the lower UUID goes on, and the other takes its disk.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from imagekit.errors import PublishError
from imagekit.formats.xapi import Appliance, vdi_fields
from imagekit.publish.entry import Entry
from imagekit.publish.xapi import storage
from imagekit.publish.xapi.exporting import Reader
from imagekit.publish.xapi.goods import Goods
from imagekit.publish.xapi.importing import Sender
from imagekit.publish.xapi.session import LostError, RefusedError, Session
from imagekit.receipt import now

_ATTEMPTS = 3
_IO_ERROR = "VDI_IO_ERROR"


def label_of(named: Appliance) -> str:
    """Return the name of an appliance's VDI."""
    return str(vdi_fields(named, "", 0)["name_label"])


@dataclass(frozen=True)
class Bringer:
    """Brings a disk into an SR.

    `reader`: what is sent is read back, where it is wanted. `alone`: no disk is taken that a VM has.
    """

    session: Session
    entry: Entry
    goods: Goods
    place: storage.Storage
    sender: Sender
    reader: Reader | None
    tell: Callable[[str], None]
    wait: Callable[[float], bool]
    alone: bool

    def bring(self, named: Appliance) -> tuple[str, str]:
        """Return the reference and UUID of the VDI, found whole or made; what broke off before goes."""
        for _ in range(_ATTEMPTS):
            found = self._found(label_of(named)) or self._made(named)
            if found is not None:
                return found
        raise PublishError("other runs make this disk, and none of them ends", hint="run it again, alone")

    def _found(self, label: str) -> tuple[str, str] | None:
        for ref, seen in self._labelled(label):
            uuid = str(seen["uuid"])
            ours = self.entry.has("vdi", uuid)  # and nobody else works with this ledger entry now
            record = seen if ours else storage.settled(self.session, "VDI", ref, self.wait, self.tell)
            if record is None:
                continue
            if storage.is_whole(record) and self._is_taken(record):
                self.tell(f"the disk {uuid} is another VM's by now: this one gets its own")
                continue
            if storage.is_whole(record):
                if self.reader is not None:
                    self.reader.compare(ref, self.goods.size, self.goods.blocks)
                self.tell(f"the disk is there already: {uuid}")
                self.entry.found("vdi", uuid)
                return ref, uuid
            self.tell(f"{uuid} was not finished: it goes, and is made again")
            self._remove(ref, uuid)
        return None

    def _labelled(self, label: str) -> list[tuple[str, Mapping[str, Any]]]:
        found = storage.labelled(self.session, "VDI", label, self.entry.receipt.id)
        return [(ref, record) for ref, record in found if record["SR"] == self.place.ref]

    def _made(self, named: Appliance) -> tuple[str, str] | None:
        """Make a VDI and fill it, again where the connection breaks; None when another run's goes first."""
        storage.check_room(self.place, self.goods.size, self.goods.data)
        form = "vhd" if self.place.vhd else "raw"
        if form == "raw":
            self.tell(f"the SR {self.place.name} keeps no VHDs: the disk is sent raw")
        for left in reversed(range(_ATTEMPTS)):
            try:
                return self._filled(named, form)
            except LostError as error:
                if not left:
                    raise
                self.tell(f"{error.brief}; it begins again")
            except RefusedError as error:
                if error.code != _IO_ERROR or not left:
                    raise
                if form == "vhd" and self.place.thick:
                    form = "raw"
                    self.tell(f"the SR {self.place.name} refused a VHD: the disk is sent raw")
                else:  # which is also what a task says of a connection that broke
                    self.tell(f"{error.brief}; it begins again")
            self.wait(_ATTEMPTS - left)
        raise AssertionError  # the last attempt returns or raises

    def _filled(self, named: Appliance, form: str) -> tuple[str, str] | None:
        """Make a VDI and fill it; when that fails it is destroyed again."""
        fields = vdi_fields(named, self.place.ref, self.goods.size)
        ref, uuid = storage.create(
            self.session, {**fields, "other_config": {**named.other_config, storage.BEGUN: now()}}
        )
        self.entry.made("vdi", uuid)
        upload = self.goods.upload(form)
        try:
            self.sender.send(ref, upload)
            if self.reader is not None:
                self.reader.compare(ref, self.goods.size, self.goods.blocks)
            if self._is_second(label_of(named), uuid):
                self.tell(f"another run makes this disk, too: {uuid} goes")
                self._remove(ref, uuid)
                return None
            storage.finish(self.session, "VDI", ref, uuid)
        except PublishError:
            self._remove(ref, uuid)
            raise
        self.tell(f"{upload.length / (1 << 20):.1f} MiB sent as {form} into {self.place.name}: {uuid}")
        return ref, uuid

    def _is_second(self, label: str, uuid: str) -> bool:
        """Tell whether another run's disk is whole, or has the lower UUID and is being filled."""
        others = [record for _, record in self._labelled(label) if record["uuid"] != uuid]
        return any((storage.is_whole(one) or str(one["uuid"]) < uuid) for one in others if not self._is_taken(one))

    def _is_taken(self, record: Mapping[str, Any]) -> bool:
        """Tell whether a disk that is to be a VM's alone is one's that this publication did not make."""
        holders = [one["other_config"] for _, one in storage.users(self.session, record)] if self.alone else []
        return any(one.get(storage.PUBLICATION) != self.entry.receipt.id for one in holders)

    def _remove(self, ref: str, uuid: str) -> None:
        storage.destroy(self.session, ref, self.wait)
        self.entry.gone("vdi", uuid)
