"""Amazon EC2, instance store: a raw image of 10 GiB at most, as an AMI bundle for S3.

It boots by PV-GRUB, as a volume of the target ebs does. The image is cached; the bundle is made of it in its
place, since it takes the user's private key (docs/decisions/0009).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from imagekit.errors import TryAgainError, UnsuitedError
from imagekit.guests import Ways, check_readable, refusal_of
from imagekit.kernel import KernelFacts, Refusal, Way
from imagekit.plan import Delivery, Input, Json, Output
from imagekit.recipe import Ami, Image
from imagekit.stages import Job, disk_step, output, root_step
from imagekit.version import __version__

if TYPE_CHECKING:
    from imagekit.formats.ami import Owner, Secrets

SUMMARY = "Amazon EC2, instance store: AMI bundle, its parts beside the manifest"
EXTENSION = ".manifest.xml"
PUBLISHER = "imagekit.publish.aws.bundle:publish"
KEEPER = "imagekit.publish.aws.undo:Keeper"

_LARGEST = 10 << 30  # the root device of instance store
_NEEDED = {
    "private_key": ("a private key", "EC2_PRIVATE_KEY or ami.private_key names it, `imagekit keys new` makes one"),
    "user": ("the AWS account", "EC2_USER or ami.user: 12 digits"),
    "ec2_cert": ("EC2's certificate", "ami.ec2_cert names it: cert-ec2.pem of ec2-ami-tools or euca2ools"),
}
_DEVICES = {False: {"ami": "sda1", "root": "/dev/sda1"}, True: {"ami": "sda", "root": "/dev/sda1"}}
WAYS: Ways = {"pv": Way.PV_GRUB}


def refusal(facts: KernelFacts, image: Image) -> Refusal | None:
    """Tell why PV-GRUB cannot boot this kernel."""
    return refusal_of(facts, image, WAYS, "the target ami")


def plan(job: Job) -> Output:
    """Plan the raw image, and its bundling; UnsuitedError when a key that it takes is not named."""
    image = job.image
    check_readable(image, Way.PV_GRUB)
    size = image.disk.size
    if size is not None and size > _LARGEST:
        raise UnsuitedError(
            "an image for instance store has 10 GiB at most",
            details=f"disk.size is {size} bytes",
            hint="the target ebs has room for more",
        )
    _check_named(image.ami)
    keys = _named(image.ami)
    owner, secrets = _read(keys)
    options: dict[str, Json] = {
        "name": job.out.name.removesuffix(".xml").removesuffix(".manifest"),
        "architecture": job.facts.architecture,
        "kernel": image.ami.kernel,
        "devices": _DEVICES[image.disk.table != "plain"],
        "version": __version__,  # the manifest tells it
        "keys": keys,
        "fingerprints": _fingerprints(owner, secrets),
    }
    disk = disk_step(job, root_step(job, "pv"))
    made = output(job, "ami", disk, {}, {"guest": "pv", "way": Way.PV_GRUB.value})
    return replace(made, delivery=Delivery("bundle", write_bundle, options))


@contextmanager
def write_bundle(image: Input, path: Path, options: Mapping[str, Json]) -> Iterator[Callable[[], Sequence[Path]]]:
    """Bundle the image, its manifest at `path`. A delivery's function."""
    from imagekit.formats import ami  # noqa: PLC0415 -- an extra; and `imagekit targets` need not import it

    owner, secrets = _read(cast("Mapping[str, str | None]", options["keys"]))
    if _fingerprints(owner, secrets) != options["fingerprints"]:
        raise TryAgainError("the keys of the bundle were changed while its image was made")
    name = cast("str", options["name"])
    machine = ami.Machine(
        architecture=cast("str", options["architecture"]),
        kernel=cast("str | None", options["kernel"]),
        devices=cast("Mapping[str, str]", options["devices"]),
    )
    secrets = secrets or ami.derived_secrets(owner.private, name, image.digest)
    with ami.bundling(image.path, path, name, machine, owner, secrets) as appear:
        yield appear


def _check_named(settings: Ami) -> None:
    missing = [_NEEDED[name] for name in _NEEDED if not getattr(settings, name)]
    if missing:
        raise UnsuitedError(
            f"an AMI bundle takes {' and '.join(what for what, _ in missing)}, which nothing names",
            hint="\n".join(how for _, how in missing),
        )


def _named(settings: Ami) -> dict[str, str | None]:
    names = ("private_key", "cert", "user", "ec2_cert", "secrets")
    found = {name: getattr(settings, name) for name in names}
    return {name: None if value is None else str(value) for name, value in found.items()}


def _read(keys: Mapping[str, str | None]) -> "tuple[Owner, Secrets | None]":
    from imagekit.formats import ami  # noqa: PLC0415

    paths = {name: Path(value) for name, value in keys.items() if value is not None}
    owner = ami.read_owner(
        private_key=paths["private_key"],
        ec2_cert=paths["ec2_cert"],
        user=keys["user"] or "",
        cert=paths.get("cert"),
    )
    secrets = ami.secrets_from(ami.read_file(paths["secrets"])) if "secrets" in paths else None
    return owner, secrets


def _fingerprints(owner: "Owner", secrets: "Secrets | None") -> dict[str, Json]:
    """Return what tells keys apart, and tells nothing else of them."""
    from imagekit.formats import ami  # noqa: PLC0415

    return {
        "user": ami.fingerprint(owner.private.public_key()),
        "ec2": ami.fingerprint(owner.ec2),
        "secrets": None if secrets is None else ami.commitment(owner.private, secrets),
    }
