"""`imagekit publish`."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

from imagekit.cli import asked
from imagekit.cli.aside import aside
from imagekit.cli.console import AsJson, Quiet, Verbose, cache_dir, say, state_dir, tell
from imagekit.errors import ImagekitError, UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from imagekit.artifact import Artifact
    from imagekit.prepare import Prepared
    from imagekit.publish import Terms
    from imagekit.receipt import Receipt
    from imagekit.recipe import Image


_BUNDLE = ".manifest.xml"


class Clash(StrEnum):
    """Values of --on-name-clash."""

    FAIL = "fail"
    REUSE = "reuse"
    SUFFIX = "suffix"


class Uploader(StrEnum):
    """Values of --uploader."""

    DIRECT = "direct"
    BOTO3 = "boto3"


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
        typer.Option(metavar="REGION", help="Where to; again for more. Default: AWS's own settings."),
    ] = None,
    bucket: Annotated[str | None, typer.Option(metavar="NAME", help="Of a bundle: where to, in S3.")] = None,
    prefix: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Of a bundle: how its keys in the bucket begin.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the AMI. Default: NAME and its digest.")
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
    host: Annotated[
        str | None, typer.Option(metavar="[USER@]HOST", help="Where to, of a host that is reached by name.")
    ] = None,
    start: Annotated[bool, typer.Option("--start", help="Start it on that host, and see that it lives.")] = False,
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
        int | None, typer.Option(metavar="SECONDS", help="How long a pool's host may take nothing of the disk.")
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
        "host": host,
        "start": start or None,
        "replace": replace or None,
        "sr": sr,
        "vm": vm or None,
        "fingerprints": list(fingerprint) if fingerprint else None,
        "watch": watch,
        "check": check or None,
        "patience": patience,
        "uploader": uploader and uploader.value,
    }
    chosen = {key: value for key, value in flags.items() if value is not None}
    receipts: list[Receipt] = []
    with ExitStack() as stack:
        wish = Wish(
            chosen,
            account=stack.enter_context(rehearsed(quiet=quiet)) if rehearse else {},
            require_proof=require_proof,
            keep=keep_on_failure,
            quiet=quiet,
        )
        found = [one for path in paths for one in stack.enter_context(_artifacts(path, target, sets, chosen))]
        wish.check(found)
        try:
            for made, image in found:
                receipts += publish_one(made, image, wish)
        except ImagekitError:
            if receipts:  # what is published stays, and is told
                report(receipts, as_json=as_json, copy=receipt)
            raise
    report(receipts, as_json=as_json, copy=receipt)


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
    ) -> None:
        self.chosen = chosen
        self.account = account
        self.require_proof = require_proof
        self.keep = keep
        self.quiet = quiet

    def check(self, found: "Sequence[tuple[Path, Image | None]]") -> None:
        """Check all settings before anything is sent; UsageError for an option that is for none of the targets."""
        from imagekit.artifact import Sidecar  # noqa: PLC0415

        sidecars = [(Sidecar.read(path) if path.is_file() else None, image) for path, image in found]
        targets = [(one.target if one else "ami", image) for one, image in sidecars]
        for target, image in targets:
            settings_of(target, image, self.chosen)
        for key in self.chosen:
            if not any(_knows(target, key) for target, _ in targets):
                raise UsageError(f"{_flag(key)} is not for the target {', '.join({one for one, _ in targets})}")


def publish_one(path: Path, image: "Image | None", wish: Wish) -> "list[Receipt]":
    """Publish one artifact, as the command line and its recipe want it."""
    from imagekit.artifact import Sidecar  # noqa: PLC0415 -- --help need not import it
    from imagekit.publish import Order, Terms, proven, publisher  # noqa: PLC0415

    terms = Terms(
        state=state_dir() / "rehearsals" if wish.account else state_dir(),
        note=(lambda _: None) if wish.quiet else tell,
        environment=os.environ,
        account=wish.account,
        keep=wish.keep,
    )
    sidecar = Sidecar.read(path) if path.is_file() else None
    if sidecar is None and path.name.endswith(_BUNDLE):
        return _publish_bundle(path, wish, terms)
    if sidecar is None:
        raise UsageError(
            f"{path} is not there, or has no sidecar beside it",
            hint="`imagekit build --target ebs` makes both; publish takes the artifact, a recipe or a kernel",
        )
    run = publisher(sidecar.target)
    proof = proven(path, sidecar, state_dir(), required=wish.require_proof)
    order = Order(
        path=path,
        sidecar=sidecar,
        settings=settings_of(sidecar.target, image, wish.chosen),
        terms=terms,
        proof=proof.key if proof else "",
        image=image,
    )
    return aside(lambda ask: run(replace(order, terms=replace(terms, ask=ask))), terms.stop)


def _publish_bundle(path: Path, wish: Wish, terms: "Terms") -> "list[Receipt]":
    from imagekit.publish.aws.bundle import publish_manifest  # noqa: PLC0415
    from imagekit.recipe import PublishAmi  # noqa: PLC0415

    if wish.require_proof:
        raise UsageError("a bundle has no proof", hint="`imagekit unbundle` gives back its image")
    settings = settings_of("ami", None, wish.chosen)
    assert isinstance(settings, PublishAmi)  # noqa: S101 -- its table is that
    return aside(lambda _: publish_manifest(path, settings, terms), terms.stop)


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
    return f"--{ {'regions': 'region', 'fingerprints': 'fingerprint'}.get(key, key).replace('_', '-') }"


@contextmanager
def _artifacts(
    path: Path, targets: list[str] | None, sets: list[str] | None, chosen: Mapping[str, object]
) -> "Iterator[list[tuple[Path, Image | None]]]":
    """Lend the artifact of a path; of a recipe or a kernel, what it is built into for the time being."""
    from imagekit.artifact import sidecar_path  # noqa: PLC0415

    if sidecar_path(path).exists() or not _is_input(path):
        if sets:
            raise UsageError("--set is for recipes and kernels, and an artifact is built already")
        yield [(path, None)]
        return
    from imagekit.store import Store  # noqa: PLC0415

    with Store(cache_dir()).workplaces.new() as folder:
        artifacts, prepared = _build(path, targets, sets, folder)
        yield [
            (artifact.path, prepared.images[artifact.image])
            for artifact in artifacts
            if targets or is_published(artifact.target, prepared.images[artifact.image], chosen)
        ]


def _build(
    path: Path, targets: list[str] | None, sets: list[str] | None, folder: Path
) -> "tuple[list[Artifact], Prepared]":
    from imagekit.build import Runner  # noqa: PLC0415
    from imagekit.build import build as run  # noqa: PLC0415
    from imagekit.events import silent  # noqa: PLC0415
    from imagekit.prepare import prepare  # noqa: PLC0415
    from imagekit.store import Store  # noqa: PLC0415

    store = Store(cache_dir())
    kernel = path.suffix != ".toml"
    wanted = asked.request([path], targets or (["ebs"] if kernel else None), f"{folder}/", sets)
    with store.in_use():
        runner = Runner(store, silent)
        prepared = prepare(wanted, runner, os.environ)
        artifacts = run(prepared.plan, store, silent, jobs=os.cpu_count() or 1, runner=runner)
    for skipped in prepared.skipped:
        tell(f"{skipped.image}: not for {skipped.target}: {skipped.refusal.reason}")
    return artifacts, prepared


def is_published(target: str, image: "Image", chosen: Mapping[str, object] = MappingProxyType({})) -> bool:
    """Tell whether a target's artifacts are uploaded: it has an uploader, and a host if it takes one."""
    from imagekit.targets import load  # noqa: PLC0415

    table = getattr(image.publish, target, None)
    placed = getattr(table, "host", True) is not None or "host" in chosen
    return placed and bool(getattr(load(target), "PUBLISHER", ""))


def _is_input(path: Path) -> bool:
    """Tell whether a file is a recipe or a kernel, to be built first."""
    from imagekit.kernel import Kind, read_kernel  # noqa: PLC0415

    if path.suffix == ".toml":
        return True
    try:
        return read_kernel(path).kind is not Kind.NONE
    except (ImagekitError, OSError):
        return False
