"""What the command line asks of publications, and one of them carried out."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from imagekit.cli.aside import aside
from imagekit.cli.attest import published
from imagekit.cli.console import state_dir, tell
from imagekit.errors import UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from imagekit.artifact import Sidecar
    from imagekit.publish import Terms
    from imagekit.receipt import Receipt
    from imagekit.recipe import Image

_BUNDLE = ".manifest.xml"
# An option is given once for each item of these lists.
_ONE = {"regions": "region", "fingerprints": "fingerprint", "instance_types": "instance_type"}


class Wish:
    """What the command line asks of every publication."""

    def __init__(
        self,
        chosen: Mapping[str, object],
        *,
        account: Mapping[str, str],
        require_proof: bool = False,
        keep: bool = False,
        quiet: bool = False,
        done: "Callable[[Receipt], None]" = lambda _: None,
    ) -> None:
        self.chosen = chosen
        self.account = account
        self.require_proof = require_proof
        self.keep = keep
        self.quiet = quiet
        self.done = done

    def check(self, found: "Sequence[tuple[Path, Image | None]]") -> None:
        """Check all settings before anything is sent; UsageError for an option that is for none of the targets."""
        from imagekit.publish import publisher  # noqa: PLC0415 -- --help need not import it

        sidecars = [(_sidecar(path), image) for path, image in found]
        targets = [(one.target if one else "ami", image) for one, image in sidecars]
        for (target, image), (path, _) in zip(targets, found, strict=True):
            publisher(target, path)
            settings_of(target, image, self.chosen)
        for key in self.chosen:
            if not any(_knows(target, key) for target, _ in targets):
                raise UsageError(f"{_flag(key)} is not for the target {', '.join({one for one, _ in targets})}")


def _sidecar(path: Path) -> "Sidecar | None":
    """Return the sidecar of an artifact, None for a bundle that others made; UsageError for anything else."""
    from imagekit.artifact import Sidecar  # noqa: PLC0415 -- --help need not import it

    found = Sidecar.read(path) if path.is_file() else None
    if found is None and not path.name.endswith(_BUNDLE):
        raise UsageError(
            f"{path} is not there, or has no sidecar beside it",
            hint="`imagekit build` makes both; publish takes the artifact, a recipe or a kernel",
        )
    return found


def publish_one(path: Path, image: "Image | None", wish: Wish) -> "list[Receipt]":
    """Publish one artifact, as the command line and its recipe want it."""
    from imagekit.publish import Order, Terms, proven, publisher  # noqa: PLC0415

    terms = Terms(
        state=state_dir() / "rehearsals" if wish.account else state_dir(),
        note=(lambda _: None) if wish.quiet else tell,
        environment=os.environ,
        account=wish.account,
        keep=wish.keep,
        done=wish.done,
    )
    sidecar = _sidecar(path)
    if sidecar is None:
        return _publish_bundle(path, wish, terms)
    run = publisher(sidecar.target, path)
    proof = proven(path, sidecar, state_dir(), required=wish.require_proof)
    order = Order(
        path=path,
        sidecar=sidecar,
        settings=settings_of(sidecar.target, image, wish.chosen),
        terms=terms,
        proof=proof.key if proof else "",
        image=image,
    )
    receipts = aside(lambda ask: run(replace(order, terms=replace(terms, ask=ask))), terms.stop)
    published(path, sidecar, terms.state)
    return receipts


def _publish_bundle(path: Path, wish: Wish, terms: "Terms") -> "list[Receipt]":
    from imagekit.publish.aws.bundle import publish_manifest  # noqa: PLC0415
    from imagekit.recipe import PublishAmi  # noqa: PLC0415

    if wish.require_proof:
        raise UsageError("a bundle has no proof", hint="`imagekit unbundle` gives back its image")
    settings = settings_of("ami", None, wish.chosen)
    assert isinstance(settings, PublishAmi)  # noqa: S101 -- its table is that
    return aside(lambda _: publish_manifest(path, settings, terms), terms.stop)


def settings_of(target: str, image: "Image | None", chosen: Mapping[str, object]) -> "BaseModel":
    """Return the recipe's table for a target, with what the command line has on top."""
    from pydantic import ValidationError  # noqa: PLC0415

    from imagekit.recipe import Publish  # noqa: PLC0415

    base = getattr(image.publish if image else Publish(), target)
    known = {key: value for key, value in chosen.items() if _knows(target, key)}
    try:
        return type(base).model_validate({**base.model_dump(), **known})  # type: ignore[no-any-return]
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{_flag(str(first['loc'][0]))} {first['input']!r}: {first['msg']}") from None


def _knows(target: str, key: str) -> bool:
    from imagekit.recipe import Publish  # noqa: PLC0415

    return key in type(getattr(Publish(), target)).model_fields


def _flag(key: str) -> str:
    """Return the option for a key of a recipe's table."""
    return f"--{_ONE.get(key, key).replace('_', '-')}"
