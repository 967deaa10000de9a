"""`imagekit attest`, and the paper trail that `build` and `publish` leave."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagekit.cli.console import AsJson, Quiet, Verbose, say, state_dir, tell
from imagekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imagekit.artifact import Artifact, Sidecar
    from imagekit.build import Runner
    from imagekit.prepare import Prepared
    from imagekit.receipt import Receipt

SignWith = Annotated[
    Path | None,
    typer.Option(
        "--sign-with",
        metavar="FILE",
        envvar="IMAGEKIT_SIGNING_KEY",
        help="Sign the statements with this Ed25519 key; `keys new --ed25519` makes one.",
    ),
]


def attest(
    paths: Annotated[
        list[Path], typer.Argument(metavar="ARTIFACT...", help="Main files that `build --provenance` has made.")
    ],
    sign_with: SignWith = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """State beside artifacts that they boot and where they were published, by the records; and sign it all.

    imagekit attest app.ebs --sign-with signing-key.pem
    """
    written = [made for path in paths for made in _attested(path, sign_with)]
    if not written and not quiet:
        tell("no proof and no receipt is of these bytes, and nothing was to be signed")
    if as_json:
        say(json.dumps({"written": [str(path) for path in written]}))
    else:
        for path in written:
            say(str(path))


def record(
    artifacts: "Iterable[Artifact]", prepared: "Prepared", runner: "Runner", *, wanted: bool
) -> "list[Artifact]":
    """Write the paper trail of artifacts just built, where it is wanted or their recipe says so; return those."""
    chosen = [one for one in artifacts if wanted or prepared.images[one.image].provenance.write]
    if chosen:
        from imagekit.provenance.record import Build  # noqa: PLC0415 -- most builds need not import it
        from imagekit.recipe import epoch  # noqa: PLC0415

        done = Build(prepared, runner, epoch(os.environ))
        for artifact in chosen:
            done.write(artifact)
    return chosen


def conclude(recorded: "Iterable[Artifact]", sign_with: Path | None) -> None:
    """State what came of recorded artifacts since, and sign all of it."""
    for artifact in recorded:
        _attested(artifact.path, sign_with)


def published(path: Path, sidecar: "Sidecar", state: Path) -> None:
    """State the publications of an artifact that has a statement beside it."""
    from imagekit.provenance.events import write_publication  # noqa: PLC0415 -- as above
    from imagekit.provenance.files import STATEMENT, beside  # noqa: PLC0415

    if beside(path, STATEMENT).exists():
        write_publication(path, _receipts(sidecar, state))


def _receipts(sidecar: "Sidecar", state: Path) -> "list[Receipt]":
    from imagekit.receipt import Ledger  # noqa: PLC0415 -- --help need not import it

    of_it = (sidecar.digest, sidecar.target)
    return [one for one in Ledger(state) if (one.digest, one.target) == of_it]


def _attested(path: Path, sign_with: Path | None) -> list[Path]:
    from imagekit.artifact import Sidecar  # noqa: PLC0415 -- --help need not import it
    from imagekit.proof import find  # noqa: PLC0415
    from imagekit.provenance.events import write_proof, write_publication  # noqa: PLC0415
    from imagekit.provenance.signing import sign  # noqa: PLC0415

    sidecar = Sidecar.read(path) if path.is_file() else None
    if sidecar is None:
        raise UsageError(f"{path} is not there, or has no sidecar beside it", hint="`imagekit build` makes both")
    proof = find(sidecar.digest, str(sidecar.boot.get("way", "")), state_dir())
    written = [write_proof(path, proof)] if proof else []
    told = write_publication(path, _receipts(sidecar, state_dir()))
    written += [told] if told else []
    return [*written, sign(path, sign_with)] if sign_with else written
