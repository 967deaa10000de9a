"""Uploaders: they move bytes that are already right, register them, and write a receipt.

A target names its uploader by a string, `PUBLISHER = "imagekit.publish.aws.ebs:publish"`, which is loaded here:
no target imports an SDK, and `--help` imports none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Event
from typing import Protocol

from pydantic import BaseModel

from imagekit import targets
from imagekit.artifact import Sidecar
from imagekit.errors import UsageError, VerificationError
from imagekit.extras import missing
from imagekit.proof import Proof, find
from imagekit.receipt import Receipt
from imagekit.recipe import Image

__all__ = ["Ask", "Order", "Publisher", "Terms", "nobody", "proven", "publisher"]


class Ask(Protocol):
    """Puts a question to the user."""

    def __call__(self, question: str, *, secret: bool = False) -> str | None:
        """Return the answer, None where nobody is there; a secret one is not shown while it is typed."""


def nobody(question: str, *, secret: bool = False) -> None:
    """Answer nothing. An Ask."""


@dataclass(frozen=True)
class Terms:
    """How to publish, whatever it is.

    Receipts go below `state`; `account` tells SDKs where a rehearsed cloud is, and is empty for the real one;
    `keep` leaves what a failed run made; `ask` puts a question to the user; `stop` is set when that
    one ends it; `done` is told of each place that is published, which the error of another does not hide.
    """

    state: Path
    note: Callable[[str], None] = lambda _: None
    environment: Mapping[str, str] = field(default_factory=dict)
    account: Mapping[str, str] = field(default_factory=dict)
    keep: bool = False
    ask: Ask = nobody
    stop: Event = field(default_factory=Event)
    done: Callable[[Receipt], None] = lambda _: None

    @property
    def rehearsed(self) -> bool:
        """Whether it goes to the stand-in."""
        return bool(self.account)


@dataclass(frozen=True)
class Order:
    """What an uploader is given: the artifact, its settings, and how.

    `settings` is the recipe's table [publish.TARGET], `image` the recipe's image where there is one, `proof` the
    key of the proof to cite.
    """

    path: Path
    sidecar: Sidecar
    settings: BaseModel
    terms: Terms
    proof: str = ""
    image: Image | None = None


class Publisher(Protocol):
    """What PUBLISHER names."""

    def __call__(self, order: Order) -> list[Receipt]:
        """Publish, and return a receipt for each region or host, in the order of the settings.

        PublishError, after what this run made was undone (unless it is to be kept).
        """


def publisher(target: str, path: Path) -> Publisher:
    """Load the uploader of a target, for an artifact of it; UsageError when it has none."""
    named: str = getattr(targets.load(target), "PUBLISHER", "")
    if not named:
        by_hand: str = getattr(targets.load(target), "BY_HAND", "")
        raise UsageError(
            f"{path} is not uploaded: nothing uploads what is for {target}",
            hint=by_hand.replace("{out}", str(path)),
        )
    module, _, name = named.partition(":")
    try:
        found: Publisher = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise missing(f"publishing {target}", error) from error
    return found


def proven(path: Path, sidecar: Sidecar, state: Path, *, required: bool) -> Proof | None:
    """Return the proof of an artifact's bytes; VerificationError when it is required and there is none."""
    way = str(sidecar.boot.get("way", ""))
    found = find(sidecar.digest, way, state)
    if found is None and required:
        raise VerificationError(
            f"{path} has no proof that it boots ({way})",
            hint=f"imagekit prove {path}; `build` has --prove, which goes before --publish",
        )
    return found
