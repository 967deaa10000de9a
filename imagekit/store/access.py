"""How a shared store is got at: what a user asked for, what other processes are told, and the store that it makes.

No secret is in it: keys are named by their files, or stand in the environment, which processes inherit.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imagekit.errors import UsageError

if TYPE_CHECKING:
    from imagekit.store.shared import Shared

SECRET = "IMAGEKIT_STORE_KEY_PEM"  # noqa: S105 -- the name of it
"""The variable that may hold the writer's key itself."""


@dataclass(frozen=True, slots=True)
class Access:
    """The address of a store, whom to believe there, and how we write: paths of key files.

    `unsigned` believes everybody, which only a folder's store may; with `required` its failures are errors.
    """

    url: str
    trusted: tuple[str, ...] = ()
    unsigned: bool = False
    required: bool = False
    writer: str | None = None

    def open(self) -> "Shared":
        """Return the store; UsageError for an address or keys that cannot be."""
        # Most builds have none.
        from imagekit.store.backend import backend  # noqa: PLC0415
        from imagekit.store.shared import Shared  # noqa: PLC0415
        from imagekit.store.trust import trust  # noqa: PLC0415

        place = backend(self.url)
        if self.unsigned and not place.private:
            raise UsageError(
                f"{self.url}: results of a bucket are believed when they are signed only", hint="--trust FILE"
            )
        writer = Path(self.writer) if self.writer else None
        found = trust(map(Path, self.trusted), writer, os.environ.get(SECRET), unsigned=self.unsigned)
        if not (found.believed or self.unsigned):
            raise UsageError(
                f"nothing in the store {self.url} could be believed",
                hint="--trust FILE names the public keys of those who write to it",
            )
        shared = Shared(place, found, required=self.required)
        shared.access = self.to_text()
        return shared

    def to_text(self) -> str:
        """Return it as a worker process is told."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Access":
        """Read it back."""
        content = json.loads(text)
        return cls(**{**content, "trusted": tuple(content["trusted"])})
