"""`imagekit publish`."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from imagekit.cli import asked
from imagekit.cli.console import AsJson, Quiet, Verbose, say, tell
from imagekit.cli.goods import artifacts
from imagekit.cli.wish import Wish, publish_one
from imagekit.errors import ImagekitError, UsageError

if TYPE_CHECKING:
    from imagekit.receipt import Receipt


class Clash(StrEnum):
    """Values of --on-name-clash."""

    FAIL = "fail"
    REUSE = "reuse"
    SUFFIX = "suffix"


class Uploader(StrEnum):
    """Values of --uploader."""

    DIRECT = "direct"
    BOTO3 = "boto3"


class Method(StrEnum):
    """Values of --method."""

    DIRECT = "direct"
    STAGED = "staged"
    WEB_DOWNLOAD = "web-download"


class Visibility(StrEnum):
    """Values of --visibility."""

    PRIVATE = "private"
    SHARED = "shared"
    COMMUNITY = "community"
    PUBLIC = "public"


class Hypervisor(StrEnum):
    """Values of --hypervisor."""

    AUTO = "auto"
    XEN = "xen"


Rehearse = Annotated[
    bool, typer.Option("--rehearse", help="To a stand-in for AWS on this machine: no account, nothing leaves it.")
]


def publish(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="ARTIFACT|RECIPE|KERNEL|MANIFEST...", help="Recipes and kernels are built first."),
    ],
    target: asked.Targets = None,
    sets: asked.Set = None,
    region: Annotated[
        list[str] | None,
        typer.Option(metavar="REGION", help="Where to; again for more. Default: the account's own."),
    ] = None,
    bucket: Annotated[str | None, typer.Option(metavar="NAME", help="Of a bundle: where to, in S3.")] = None,
    prefix: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Of a bundle: how its keys in the bucket begin.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Of the AMI or image. Default: the image's, with its digest for an AMI."
        ),
    ] = None,
    on_name_clash: Annotated[
        Clash | None, typer.Option("--on-name-clash", help="When another image has that name.")
    ] = None,
    parent: Annotated[
        str | None, typer.Option(metavar="SNAPSHOT", help="Send only the blocks that differ from it.")
    ] = None,
    copy_snapshot: Annotated[
        bool, typer.Option("--copy-snapshot", help="Upload to the first region; AWS copies to the others.")
    ] = False,
    encrypted: Annotated[
        bool | None, typer.Option("--encrypted/--not-encrypted", help="Default: as the account has it.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Everybody may launch it.")] = False,
    share_with: Annotated[
        list[str] | None,
        typer.Option("--share-with", metavar="ACCOUNT", help="Who may launch it; again for more."),
    ] = None,
    instance_type: Annotated[
        list[str] | None,
        typer.Option("--instance-type", metavar="TYPE", help="What it is to run on, on EC2; again for more."),
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="[USER@]HOST", help="Where to, of a host that is reached by name.")
    ] = None,
    start: Annotated[
        bool, typer.Option("--start", help="Start it on that host, pool or cloud, and see that it lives.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Start it in place of the running one of its name.")
    ] = False,
    sr: Annotated[
        str | None, typer.Option("--sr", metavar="NAME|UUID", help="Storage repository. Default: the pool's.")
    ] = None,
    vm: Annotated[bool, typer.Option("--vm", help="Make a VM with the disk.")] = False,
    fingerprint: Annotated[
        list[str] | None,
        typer.Option("--fingerprint", metavar="AB:CD:…", help="SHA-256 of a pool's certificate; again for more."),
    ] = None,
    watch: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="See for so long that what was started lives.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Read the disk back from the pool, and compare.")] = False,
    patience: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", help="How long a pool's host may take nothing, or a cloud import."),
    ] = None,
    os_cloud: Annotated[
        str | None,
        typer.Option("--os-cloud", metavar="NAME", help="Of clouds.yaml. Default: the OS_* variables'."),
    ] = None,
    method: Annotated[
        Method | None, typer.Option("--method", help="How the data come to Glance. Default: direct.")
    ] = None,
    visibility: Annotated[Visibility | None, typer.Option("--visibility", help="Of an image in Glance.")] = None,
    container: Annotated[str | None, typer.Option(metavar="NAME", help="In Swift. Default: imagekit.")] = None,
    hypervisor: Annotated[
        Hypervisor | None, typer.Option("--hypervisor", help="xen: do not ask the OpenStack cloud what it runs.")
    ] = None,
    flavor: Annotated[
        str | None, typer.Option(metavar="NAME|ID", help="Of the server that --start boots.")
    ] = None,
    network: Annotated[
        str | None, typer.Option(metavar="NAME|ID", help="Of the server that --start boots. Default: none.")
    ] = None,
    uploader: Annotated[Uploader | None, typer.Option("--uploader", help="What puts the blocks.")] = None,
    require_proof: Annotated[
        bool, typer.Option("--require-proof", help="Exit 6 unless it was proven that it boots.")
    ] = False,
    rehearse: Rehearse = False,
    keep_on_failure: Annotated[
        bool,
        typer.Option("--keep-on-failure", help="Leave in the account what was made; a repeat goes on with it."),
    ] = False,
    receipt: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the receipts there, too.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Upload and register images; their ids on stdout, one a region or host. Safe to repeat, and to go on with.

    imagekit publish app.ebs --region eu-west-1
    """
    flags = {
        "regions": list(region) if region else None,
        "bucket": bucket,
        "prefix": prefix,
        "name": name,
        "on_name_clash": on_name_clash and on_name_clash.value,
        "parent": parent,
        "copy_snapshot": copy_snapshot or None,
        "encrypted": encrypted,
        "public": public or None,
        "share_with": list(share_with) if share_with else None,
        "instance_types": list(instance_type) if instance_type else None,
        "host": host,
        "start": start or None,
        "replace": replace or None,
        "sr": sr,
        "vm": vm or None,
        "fingerprints": list(fingerprint) if fingerprint else None,
        "watch": watch,
        "check": check or None,
        "patience": patience,
        "os_cloud": os_cloud,
        "method": method and method.value,
        "visibility": visibility and visibility.value,
        "container": container,
        "hypervisor": hypervisor and hypervisor.value,
        "flavor": flavor,
        "network": network,
        "uploader": uploader and uploader.value,
    }
    chosen = {key: value for key, value in flags.items() if value is not None}
    receipts: list[Receipt] = []
    partly: list[Receipt] = []
    with ExitStack() as stack:
        wish = Wish(
            chosen,
            account=stack.enter_context(rehearsed(quiet=quiet)) if rehearse else {},
            require_proof=require_proof,
            keep=keep_on_failure,
            quiet=quiet,
            done=partly.append,
        )
        found = [one for path in paths for one in stack.enter_context(artifacts(path, target, sets, chosen))]
        wish.check(found)
        try:
            for made, image in found:
                receipts += publish_one(made, image, wish)
                partly.clear()
        except ImagekitError:
            if receipts or partly:  # what is published stays, and is told
                report(receipts + partly, as_json=as_json, copy=receipt)
            raise
    report(receipts, as_json=as_json, copy=receipt)


def report(receipts: "list[Receipt]", *, as_json: bool, copy: Path | None = None) -> None:
    """Print the ids; and copy the receipts to a file."""
    content = json.dumps({"receipts": [one.to_json() for one in receipts]}, indent=1, sort_keys=True)
    if copy is not None:
        try:
            copy.write_text(content + "\n")
        except OSError as error:
            raise UsageError(f"{copy} cannot be written", details=error.strerror or "") from error
    if as_json:
        say(json.dumps(json.loads(content)))
    else:
        for one in receipts:
            say(one.result)


@contextmanager
def rehearsed(*, quiet: bool) -> Iterator[Mapping[str, str]]:
    """Lend the stand-in for AWS, a process of its own on loopback; list its calls when it ends."""
    from imagekit.publish.rehearse import calls, standing_in  # noqa: PLC0415

    with TemporaryDirectory(prefix="imagekit-rehearsal-") as folder:
        try:
            with standing_in(Path(folder)) as account:
                yield account
        finally:
            if not quiet:
                for line in calls(Path(folder)):
                    tell(line)
