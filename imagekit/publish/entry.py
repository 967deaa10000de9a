"""A publication's receipt while it runs: what is made, found and gone is in the ledger at once."""

from dataclasses import dataclass

from imagekit.receipt import Ledger, Receipt


@dataclass(frozen=True)
class Entry:
    """A receipt and where it is kept."""

    receipt: Receipt
    ledger: Ledger

    def save(self) -> None:
        """Keep it as it is now."""
        self.ledger.write(self.receipt)

    def made(self, kind: str, name: str) -> None:
        """Enter what this publication made."""
        self.receipt.resource(kind, name).ours = True
        self.save()

    def found(self, kind: str, name: str) -> None:
        """Enter what was there: it is ours to take back when the ledger says so."""
        self.receipt.resource(kind, name, ours=self.has(kind, name))
        self.save()

    def gone(self, kind: str, name: str) -> None:
        """Note that something is there no longer."""
        for one in self.receipt.resources:
            if (one.kind, one.id) == (kind, name):
                one.gone = True
        self.save()

    def has(self, kind: str, name: str) -> bool:
        """Tell whether this publication made it, in this run or an earlier one."""
        return any((one.kind, one.id) == (kind, name) and one.ours for one in self.receipt.resources)
