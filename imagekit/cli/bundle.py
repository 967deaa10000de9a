"""`imagekit bundle`."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagekit.cli.console import AsJson, Verbose, say
from imagekit.cli.keys import PrivateKey
from imagekit.errors import UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

    from imagekit.formats.ami import Secrets

_KERNEL = re.compile(r"[a-z]ki-[0-9a-f]{8,17}")
_RAMDISK = re.compile(r"[a-z]ri-[0-9a-f]{8,17}")
_VIRTUAL = re.compile(r"ami|root|swap|ephemeral[0-9]{1,2}")
_DEVICE = re.compile(r"(?:/dev/)?[a-z]{1,4}[0-9]{0,2}")


def bundle(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A raw image, 10 GiB at most.")],
    private_key: PrivateKey,
    ec2_cert: Annotated[
        Path,
        typer.Option(
            "--ec2-cert",
            metavar="FILE",
            help="EC2's own certificate, PEM; its dates are not checked.",
        ),
    ],
    user: Annotated[
        str,
        typer.Option("--user", metavar="ACCOUNT", envvar="EC2_USER", help="The account's 12 digits."),
    ],
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR/", help="Where to. Default: here.")] = ".",
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Of the bundle. Default: the image's stem."),
    ] = None,
    cert: Annotated[
        Path | None,
        typer.Option(
            "--cert", metavar="FILE", envvar="EC2_CERT", help="The user's certificate; only held against the key."
        ),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option("--arch", metavar="i386|x86_64", help="Default: what the sidecar says, else x86_64."),
    ] = None,
    kernel: Annotated[
        str | None, typer.Option("--kernel", metavar="AKI", help="The kernel image that boots it: PV-GRUB.")
    ] = None,
    ramdisk: Annotated[str | None, typer.Option("--ramdisk", metavar="ARI", help="A RAM disk image.")] = None,
    devices: Annotated[
        list[str] | None,
        typer.Option(
            "--block-device-mapping", metavar="VIRTUAL=DEVICE", help="ami=sda1, ephemeral0=sda2. Again for more."
        ),
    ] = None,
    secrets: Annotated[
        Path | None,
        typer.Option(
            "--secrets", metavar="FILE", help="AES key and IV, 32 hex characters each. Default: random ones."
        ),
    ] = None,
    reproducible: Annotated[
        bool,
        typer.Option("--reproducible", help="Key and IV made from image and private key."),
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Bundle a raw image for EC2's instance store: parts, and a manifest that is signed.

    imagekit bundle app.raw -o out/ --ec2-cert cert-ec2.pem --user 1234-5678-9012
    """
    from imagekit.formats import ami  # noqa: PLC0415 -- an extra; and --help need not import it

    if secrets is not None and reproducible:
        raise UsageError("--secrets and --reproducible are two sources of one key: choose one")
    owner = ami.read_owner(private_key=private_key, ec2_cert=ec2_cert, user=user, cert=cert)
    machine = ami.Machine(
        architecture=_architecture(arch, image),
        kernel=_matching(kernel, _KERNEL, "an AKI: aki- and hexadecimal digits"),
        ramdisk=_matching(ramdisk, _RAMDISK, "an ARI: ari- and hexadecimal digits"),
        devices=dict(map(_device, devices or ())),
    )
    name = image.stem if name is None else name
    key = _secrets(secrets, owner.private if reproducible else None, image, name)
    manifest = ami.bundle(image, Path(output), name, machine, owner, key)
    say(json.dumps({"manifest": str(manifest)}) if as_json else str(manifest))


def _architecture(arch: str | None, image: Path) -> str:
    from imagekit.artifact import Sidecar  # noqa: PLC0415
    from imagekit.formats.ami import ARCHITECTURES  # noqa: PLC0415

    if arch is None:
        sidecar = Sidecar.read(image)
        arch = sidecar.architecture if sidecar else "x86_64"
    if arch not in ARCHITECTURES:
        raise UsageError(f"--arch {arch}: one of {' and '.join(ARCHITECTURES)}")
    return arch


def _secrets(file: Path | None, private: "rsa.RSAPrivateKey | None", image: Path, name: str) -> "Secrets":
    from imagekit.formats import ami  # noqa: PLC0415
    from imagekit.sparse import digest_file  # noqa: PLC0415

    if file is not None:
        return ami.secrets_from(ami.read_file(file))
    if private is None:
        return ami.random_secrets()
    if not image.is_file():
        raise UsageError(f"{image} is no file")
    return ami.derived_secrets(private, name, digest_file(image))


def _matching(text: str | None, pattern: re.Pattern[str], what: str) -> str | None:
    if text is not None and not pattern.fullmatch(text):
        raise UsageError(f"{text!r} is not {what}")
    return text


def _device(text: str) -> tuple[str, str]:
    virtual, _, device = text.partition("=")
    if not (_VIRTUAL.fullmatch(virtual) and _DEVICE.fullmatch(device)):
        raise UsageError(f"--block-device-mapping {text}: it is VIRTUAL=DEVICE", hint="ami=sda1, root=/dev/sda1")
    return virtual, device
