"""A domain in the place of another: up first, watched, and only then is the other one gone; else that comes back.

Two domains cannot have one name, and a crash of ours must not leave the host without either. So the old one is
paused and renamed, and what it is to be called again is in the receipt before that happens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from imagekit.errors import ImagekitError, PublishError
from imagekit.publish.ssh.connection import LostError
from imagekit.publish.ssh.xl import End, Xl
from imagekit.receipt import Ledger, Receipt

_ASIDE, _LIVES = "aside", "lives"  # in a receipt's details
REPLACED = "replaced"
"""There, too: the UUID of the domain that is gone, whose files are not yet."""


@dataclass(frozen=True)
class Wanted:
    """The domain to be: its name, its UUID, its configuration on the host, the seconds that it is watched."""

    name: str
    uuid: str
    configuration: str
    watch: int


class Starter:
    """Starts one domain, and enters every step into the receipt before it is taken."""

    def __init__(
        self, xl: Xl, wanted: Wanted, receipt: Receipt, ledger: Ledger, note: Callable[[str], None]
    ) -> None:
        self._xl = xl
        self._wanted = wanted
        self._receipt = receipt
        self._ledger = ledger
        self._note = note

    def settle(self) -> None:
        """Bring what a killed run left to one end or the other."""
        if self._receipt.details.get(_LIVES) is not False:  # nothing was begun, or all was done
            self._retire_old()
            return
        ours = self._xl.by_uuid(self._wanted.uuid)
        if ours:
            self._xl.destroy(ours)
        if bring_back(self._xl, self._receipt, self._ledger):
            self._note(f"{self._receipt.region}: {self._wanted.name} is again what it was before")

    def check(self, *, replace: bool) -> bool:
        """Tell whether it runs already; PublishError when another has its name, and is to stay."""
        if self._xl.by_uuid(self._wanted.uuid):
            return True
        other = self._xl.by_name(self._wanted.name)
        if other and not replace:
            raise PublishError(
                f"{self._receipt.region}: a domain named {self._wanted.name} runs there",
                details=f"domain {other.domid}, UUID {other.uuid}",
                hint="--replace puts this one into its place",
            )
        return False

    def start(self) -> None:
        """Start it; PublishError, with its console's last lines, when it ends in trouble while it is watched."""
        self._receipt.details[_LIVES] = False
        self._receipt.resource("domain", self._wanted.uuid)
        self._ledger.write(self._receipt)
        try:
            self._put_aside()
            end = self._run()
        except LostError:
            raise  # the next attempt settles it
        except ImagekitError:
            self.settle()
            self._gone()
            raise
        self._receipt.details[_LIVES] = True
        self._ledger.write(self._receipt)
        self._retire_old()
        how = "has ended, its work done" if end else f"lives after {self._wanted.watch} seconds"
        self._note(f"{self._receipt.region}: {self._wanted.name} {how}")

    def _run(self) -> End | None:
        self._xl.create(self._wanted.configuration)
        domain = self._xl.by_uuid(self._wanted.uuid)
        if domain is None:
            raise PublishError(f"{self._receipt.region}: xl created a domain that it does not list")
        end, console = self._xl.watch(domain, self._wanted.watch)
        if end and not end.clean:
            raise PublishError(
                f"{self._receipt.region}: {self._wanted.name} did not live: {end.why}",
                details=f"its console said:\n{console}" if console else "its console said nothing",
            )
        return end

    def _put_aside(self) -> None:
        old = self._xl.by_name(self._wanted.name)
        if old is None:
            return
        aside = f"{self._wanted.name}.{old.uuid[:8]}"
        self._receipt.details[_ASIDE] = {"uuid": old.uuid, "name": aside}
        self._ledger.write(self._receipt)
        self._xl.step_aside(old, aside)

    def _retire_old(self) -> None:
        uuid = aside_uuid(self._receipt)
        if not uuid:
            return
        old = self._xl.by_uuid(uuid)
        if old:
            self._xl.destroy(old)
            self._note(f"{self._receipt.region}: the {self._wanted.name} before it is gone")
        self._receipt.details[REPLACED] = uuid
        del self._receipt.details[_ASIDE]
        self._ledger.write(self._receipt)

    def _gone(self) -> None:
        self._receipt.resource("domain", self._wanted.uuid).gone = True
        self._ledger.write(self._receipt)


def aside_uuid(receipt: Receipt) -> str:
    """Return the UUID of the domain that is aside for this publication's, "" for none."""
    return cast("dict[str, str]", receipt.details.get(_ASIDE) or {}).get("uuid", "")


def bring_back(xl: Xl, receipt: Receipt, ledger: Ledger) -> bool:
    """Give the domain that is aside for this publication's its name back; tell whether there was one."""
    uuid = aside_uuid(receipt)
    if not uuid:
        return False
    old = xl.by_uuid(uuid)
    if old:
        xl.step_back(old, str(receipt.details["name"]))
    del receipt.details[_ASIDE]
    ledger.write(receipt)
    return old is not None
