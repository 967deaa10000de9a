"""`imagekit keys`, and the option that names a key."""

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from imagekit.cli.console import AsJson, Verbose, say
from imagekit.errors import UsageError

PrivateKey = Annotated[
    Path,
    typer.Option("--private-key", metavar="FILE", envvar="EC2_PRIVATE_KEY", help="The user's RSA key, PEM."),
]

app = typer.Typer(no_args_is_help=True, help="Keys for AMI bundles.")


@app.callback()
def root() -> None:
    """Keys for AMI bundles."""


@app.command("new")
def new(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where to. Default: here.")
    ] = Path(),
    as_json: AsJson = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Make a private key, pk.pem, and a self-signed certificate, cert.pem. EC2 need not know them."""
    from imagekit.formats import ami  # noqa: PLC0415 -- an extra; and --help need not import it

    key, certificate = output / "pk.pem", output / "cert.pem"
    for path in (key, certificate):
        if os.path.lexists(path):
            raise _exists(path)
    pair = ami.new_pair(datetime.now(UTC))
    try:
        output.mkdir(parents=True, exist_ok=True)
        _write(key, pair[0], 0o600)
        try:
            _write(certificate, pair[1], 0o644)
        except BaseException:
            key.unlink()
            raise
    except OSError as error:
        raise UsageError(f"{output} cannot be written", details=error.strerror or "") from error
    if as_json:
        say(json.dumps({"private_key": str(key), "certificate": str(certificate)}))
    else:
        say(f"{key}\n{certificate}")


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file that is not there yet, whole or not at all, with this mode from the start."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.imagekit")
    try:
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fsync(descriptor)
        os.link(draft, path)  # unlike a rename, it never replaces what somebody put there meanwhile
    except FileExistsError:
        raise _exists(path) from None
    finally:
        with suppress(OSError):
            draft.unlink()


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} is there already, and keys are not written over", hint="-o names another folder")
