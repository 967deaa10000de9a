"""`imagekit keys`, and the option that names a key."""

import json
import os
from collections.abc import Callable
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

app = typer.Typer(no_args_is_help=True, help="Keys for AMI bundles, and for signatures.")


@app.callback()
def root() -> None:
    """Keys for AMI bundles, and for signatures."""


@app.command("new")
def new(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where to. Default: here.")
    ] = Path(),
    ed25519: Annotated[
        bool, typer.Option("--ed25519", help="A pair that signs statements: signing-key.pem, signing-key.pub.pem.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Make a private key, pk.pem, and a self-signed certificate, cert.pem. EC2 need not know them."""
    if ed25519:
        from imagekit.ed25519 import PRIVATE, PUBLIC, new_pair  # noqa: PLC0415 -- --help need not import it

        _keep(output / PRIVATE, output / PUBLIC, new_pair, "public_key", as_json=as_json)
        return
    from imagekit.formats import ami  # noqa: PLC0415 -- an extra; and --help need not import it

    names = output / "pk.pem", output / "cert.pem"
    _keep(*names, lambda: ami.new_pair(datetime.now(UTC)), "certificate", as_json=as_json)


def _keep(
    private: Path, public: Path, pair: Callable[[], tuple[bytes, bytes]], kind: str, *, as_json: bool
) -> None:
    """Make a pair of files, the private one for its owner alone, and print their paths."""
    for path in (private, public):
        if os.path.lexists(path):
            raise _exists(path)
    made = pair()
    try:
        private.parent.mkdir(parents=True, exist_ok=True)
        _write(private, made[0], 0o600)
        try:
            _write(public, made[1], 0o644)
        except BaseException:
            private.unlink()
            raise
    except OSError as error:
        raise UsageError(f"{private.parent} cannot be written", details=error.strerror or "") from error
    if as_json:
        say(json.dumps({"private_key": str(private), kind: str(public)}))
    else:
        say(f"{private}\n{public}")


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
