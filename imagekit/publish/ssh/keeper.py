"""Taking back what was brought to hosts: the domain first, then the files."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from imagekit.errors import PublishError
from imagekit.publish import Ask
from imagekit.publish.keeping import Orphan
from imagekit.publish.ssh.connection import Host, connected
from imagekit.publish.ssh.domain import aside_uuid, bring_back
from imagekit.publish.ssh.xl import Xl
from imagekit.receipt import PUBLISHED, Ledger, Receipt, Resource

TARGET = "xen"
PART = ".part"
"""What a file's name ends with until it is whole."""


class Keeper:
    """Takes back on the hosts of the receipts."""

    def __init__(self, environment: Mapping[str, str], ask: Ask) -> None:  # noqa: ARG002 -- SSH asks nobody
        self._environment = environment

    def undo(self, receipt: Receipt, ledger: Ledger) -> list[Resource]:
        """Destroy the domain and remove the files."""
        if not receipt.left and not aside_uuid(receipt):
            return []
        with self._host(receipt.region) as host:
            return undo(host, receipt, ledger)

    def places(self, named: Sequence[str], ledger: Ledger) -> list[str]:
        """Return the hosts of the receipts, of those that are named."""
        known = dict.fromkeys(receipt.region for receipt in ledger if receipt.target == TARGET)
        return [host for host in known if not named or host in named]

    def orphans(self, places: Sequence[str], age: timedelta, ledger: Ledger) -> list[Orphan]:
        """Return what unfinished publications have left."""
        return [
            Orphan(one.kind, one.id, one.region, receipt.begun, f"its publication is {receipt.state}")
            for receipt in ledger
            if receipt.target == TARGET and receipt.region in places and receipt.state != PUBLISHED
            for one in receipt.left
            if _older(receipt.begun, age)
        ]

    def remove(self, orphan: Orphan) -> None:
        """Remove one of them."""
        with self._host(orphan.region) as host:
            remove(host, orphan.kind, orphan.id)

    @contextmanager
    def _host(self, named: str) -> Iterator[Host]:
        with connected(named, self._environment) as host:
            yield host


def undo(host: Host, receipt: Receipt, ledger: Ledger) -> list[Resource]:
    """Remove what a publication made, the newest first, and return it; what made room for it comes back."""
    removed = []
    for resource in receipt.left:
        remove(host, resource.kind, resource.id)
        resource.gone = True
        ledger.write(receipt)
        removed.append(resource)
    if aside_uuid(receipt):
        bring_back(Xl(host), receipt, ledger)
    return removed


def remove(host: Host, kind: str, name: str) -> None:
    """Destroy a domain by its UUID, or remove a file by its path, whole or not."""
    if kind == "domain":
        xl = Xl(host)
        running = xl.by_uuid(name)
        if running:
            xl.destroy(running)
    elif kind == "file":
        host.checked(f"removing {name}", 'rm -f -- "$1" "$2"', name, name + PART)
    else:
        raise PublishError(f"a host has no {kind}")


def _older(begun: str, age: timedelta) -> bool:
    return datetime.fromisoformat(begun) <= datetime.now(UTC) - age
