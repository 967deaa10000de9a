"""`imagekit prove`."""

import json
import os
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from imagekit.cli import asked
from imagekit.cli.console import AsJson, Quiet, Verbose, cache_dir, say, state_dir, tell
from imagekit.cli.goods import is_input
from imagekit.cli.shared import of_environment, open_store
from imagekit.errors import UsageError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imagekit.kernel import Way
    from imagekit.proof import Proof
    from imagekit.prove import Expected, Laboratory, Network
    from imagekit.recipe import Image


_LEAST_MEMORY = 4 << 20


class Accelerator(StrEnum):
    """Values of --accel."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class By(StrEnum):
    """Values of --by: imagekit.kernel's ways of booting."""

    PV = "pv"
    PYGRUB = "pygrub"
    PV_GRUB = "pv-grub"
    PVH = "pvh"
    PVH_PYGRUB = "pvh-pygrub"
    MULTIBOOT = "multiboot"
    HVM = "hvm"


class Boot(StrEnum):
    """Values of --boot: kinds of guests, as `build` has them."""

    AUTO = "auto"
    PV = "pv"
    PVH = "pvh"
    HVM = "hvm"


def prove(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGE|RECIPE|KERNEL]...", help="Artifacts, raw disks, recipes, kernels."),
    ] = None,
    target: asked.Targets = None,
    by: Annotated[
        By | None,
        typer.Option(
            "--by",
            metavar="pv|pygrub|pv-grub|pvh|pvh-pygrub|multiboot|hvm",
            help="The way to boot it. Default: the artifact's own.",
        ),
    ] = None,
    boot: Annotated[
        Boot | None,
        typer.Option(metavar="auto|pv|pvh|hvm", help="The kind of guest, in place of --by: its target's own way."),
    ] = None,
    expect: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the guest must say. Default: it must power off.")
    ] = None,
    power_off: Annotated[
        bool, typer.Option("--power-off", help="And it must power off cleanly after that.")
    ] = False,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS/BITS", help="Give it a network; dom0's address. By DHCP it gets the next one."
        ),
    ] = None,
    get: Annotated[str | None, typer.Option(metavar="URL", help="Fetch this from it: http://10.0.0.2/.")] = None,
    expect_body: Annotated[str | None, typer.Option(metavar="TEXT", help="What must be in the answer.")] = None,
    memory: asked.Memory = None,
    timeout: Annotated[float | None, typer.Option(min=1, metavar="SECONDS", help="Default: 60.")] = None,
    console: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the guest's console there; - for stdout.")
    ] = None,
    private_key: asked.PrivateKey = None,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Make the lab, or renew it; with --boot hvm: that for HVM guests.")
    ] = False,
    debs: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="With --prepare: the Debian packages lie there.")
    ] = None,
    packages: Annotated[bool, typer.Option("--packages", help="Print which packages it is made of.")] = False,
    cold: Annotated[
        bool, typer.Option("--cold", help="Boot Xen and dom0 afresh, not from the saved machine.")
    ] = False,
    accel: Annotated[Accelerator, typer.Option("--accel", help="What runs the lab.")] = Accelerator.AUTO,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Boot images on a real Xen, under QEMU, each by its cloud's own way; exit 6 when one does not boot.

    imagekit prove app.ebs --expect 'hello from'
    """
    from imagekit.kernel import Way  # noqa: PLC0415 -- --help need not import it
    from imagekit.prove import Expected, Laboratory  # noqa: PLC0415 -- as above

    if by and boot:
        raise UsageError(f"--by {by} and --boot {boot}: one of them", hint="--boot leaves the way to the target")
    way = Way(by.value) if by else None
    lab_for = Way.HVM if boot is Boot.HVM else way
    if packages:
        _list_packages(lab_for)
        return
    if debs is not None and not prepare:
        raise UsageError("--from says where the lab's packages lie", hint="it goes with --prepare")
    if not (paths or prepare):
        raise UsageError("nothing to prove", hint="imagekit prove app.ebs, or --prepare")
    laboratory = Laboratory(
        cache_dir(), state_dir(), note=_silent if quiet else tell, accelerator=accel.value, cold=cold
    )
    if prepare:
        lab = laboratory.prepare(lab_for, debs=debs)
        if not paths:
            say(str(lab.folder))
            return
    expected = Expected(expect or "", power_off, expect_body or "") if expect or power_off or expect_body else None
    wish = Wish(
        expected,
        _network(network, get, expect_body),
        timeout,
        way,
        _bytes(memory),
        private_key,
        boot.value if boot else None,
    )
    proofs = [proof for path in paths or () for proof in _proofs(path, target, laboratory, wish, memory)]
    report(proofs, as_json=as_json, quiet=quiet, console=console)


class Wish:
    """What the command line asks of every proof; None where it leaves that to the recipe."""

    def __init__(
        self,
        expected: "Expected | None" = None,
        network: "Network | None" = None,
        timeout: float | None = None,
        by: "Way | None" = None,
        memory: int | None = None,
        private_key: Path | None = None,
        boot: Literal["auto", "pv", "pvh", "hvm"] | None = None,
    ) -> None:
        self.expected = expected
        self.network = network
        self.timeout = timeout
        self.by = by
        self.memory = memory
        self.private_key = private_key
        self.boot = boot


def prove_one(
    laboratory: "Laboratory", path: Path, wish: Wish, image: "Image | None" = None, target: str | None = None
) -> "Proof":
    """Prove one artifact, as the command line and its recipe want it."""
    from imagekit.prove import Expected, subject  # noqa: PLC0415
    from imagekit.unwrap import unwrapped  # noqa: PLC0415

    expected, network, timeout = wish.expected, wish.network, wish.timeout
    if image is not None:
        expected = expected or expected_of(image)
        network = network or network_of(image)
        timeout = timeout or image.prove.timeout
    private_key = wish.private_key or (image.ami.private_key if image else None)
    with unwrapped(path, private_key) as raw:
        guest = None if wish.boot == "auto" else wish.boot
        found = subject(path, target=target, way=wish.by, memory=wish.memory, raw=raw, guest=guest)
        return laboratory.prove(found, expected or Expected(), network=network, timeout=timeout or 60.0)


def expected_of(image: "Image") -> "Expected":
    """Return what an image's recipe expects of its boot."""
    from imagekit.prove import Expected  # noqa: PLC0415

    return Expected(image.prove.expect, image.prove.power_off, image.prove.expect_body)


def network_of(image: "Image") -> "Network | None":
    """Return the network that an image's recipe gives it; UsageError for what is none."""
    return _network(image.prove.network, image.prove.get, image.prove.expect_body or None)


def report(
    proofs: "list[Proof]", *, as_json: bool, quiet: bool, console: Path | None = None, result: bool = True
) -> None:
    """Tell of proofs; VerificationError when one of them failed."""
    if not quiet:
        for proof in proofs:
            _tell_of(proof)
    to_stdout = console is not None and str(console) == "-"
    if console is not None:
        _write_consoles(proofs, None if to_stdout else console)
    if result and as_json:
        say(json.dumps({"proofs": [proof.to_json() for proof in proofs]}))
    elif result and not to_stdout:
        for proof in proofs:
            say(f"{proof.image}: {'booted' if proof.booted else proof.verdict} ({proof.way})")
    failed = [proof for proof in proofs if not proof.booted]
    if failed:
        first = failed[0]
        brief, _, details = first.why.partition("\n")
        raise VerificationError(
            f"{first.image} does not boot by {first.way}: {first.verdict}: {brief}",
            details=details + (f"\n{len(failed) - 1} more failed" if len(failed) > 1 else ""),
            hint="`imagekit inspect` shows what each boot loader finds; --console - shows all that it said",
        )


def _tell_of(proof: "Proof") -> None:
    told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in proof.seconds.items())
    tell(f"{proof.image}: {proof.why.splitlines()[0]}")
    tell(f"  by {proof.loader} ({proof.way}{', for ' + proof.target if proof.target else ''})")
    tell(f"  {told}; {proof.memory >> 20} MiB")
    for warning in proof.warnings:
        tell(f"warning: {warning}")


def _write_consoles(proofs: "list[Proof]", path: Path | None) -> None:
    text = "".join(proof.console for proof in proofs)
    if path is None:
        say(text.rstrip("\n"))
        return
    try:
        path.write_text(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written", details=error.strerror or "") from error


def _proofs(
    path: Path, targets: list[str] | None, laboratory: "Laboratory", wish: Wish, memory: str | None
) -> "Iterator[Proof]":
    """Yield the proofs of an artifact; of a recipe or a kernel, those of what it is built into."""
    from imagekit.artifact import sidecar_path  # noqa: PLC0415

    if sidecar_path(path).exists() or wish.by or not is_input(path):
        named = targets or [None]  # type: ignore[list-item]
        for target in named:
            yield prove_one(laboratory, path, wish, target=target)
        return
    with _built(path, targets, memory, wish.boot) as built:
        for made, image, target in built:
            yield prove_one(laboratory, made, wish, image, target)


@contextmanager
def _built(
    path: Path, targets: list[str] | None, memory: str | None, boot: str | None
) -> "Iterator[list[tuple[Path, Image, str]]]":
    """Build a recipe or a kernel into a folder that is gone afterwards."""
    from imagekit.build import Runner  # noqa: PLC0415
    from imagekit.build import build as run  # noqa: PLC0415
    from imagekit.events import silent  # noqa: PLC0415
    from imagekit.prepare import prepare  # noqa: PLC0415

    store = open_store(of_environment())
    with store.workplaces.new() as folder:
        wanted = asked.request([path], targets, f"{folder}/", None, memory=memory, boot=boot)
        with store.in_use():
            runner = Runner(store, silent)
            prepared = prepare(wanted, runner, os.environ)
            artifacts = run(prepared.plan, store, silent, jobs=os.cpu_count() or 1, runner=runner)
        for skipped in prepared.skipped:
            tell(f"{skipped.image}: not for {skipped.target}: {skipped.reason}")
        yield [(artifact.path, prepared.images[artifact.image], artifact.target) for artifact in artifacts]


def _network(address: str | None, url: str | None, body: str | None) -> "Network | None":
    from ipaddress import IPv4Address, IPv4Interface  # noqa: PLC0415
    from urllib.parse import urlsplit  # noqa: PLC0415

    from imagekit.prove import Network  # noqa: PLC0415

    if address is None and url is None and body is None:
        return None
    if address is None or url is None:
        raise UsageError("--network and --get go together", hint="--network 10.0.0.1/24 --get http://10.0.0.2/")
    try:
        interface, parts = IPv4Interface(address), urlsplit(url)
        port = parts.port
        IPv4Address(parts.hostname or "")  # dom0 resolves no names
    except ValueError as error:
        raise UsageError(f"{address} {url}: no network and no URL", details=str(error)) from None
    if parts.scheme != "http" or port == 0 or "@" in parts.netloc:
        raise UsageError(f"{url} cannot be fetched", hint="http://10.0.0.2/: plain HTTP, and an address")
    return Network(interface, parts)


def _bytes(memory: str | None) -> int | None:
    if memory is None:
        return None
    from imagekit.recipe.values import parse_size  # noqa: PLC0415

    try:
        found = parse_size(memory)
    except ValueError as error:
        raise UsageError(f"--memory {memory} is no size", details=str(error)) from None
    if found < _LEAST_MEMORY or found % (1 << 20):
        raise UsageError(f"--memory {memory}: a guest takes whole MiB, 4 at least", hint="--memory 64MiB")
    return found


def _list_packages(way: "Way | None") -> None:
    from imagekit.prove.laboratory import variant_for  # noqa: PLC0415

    for name in variant_for(way).packages:
        say(name)


def _silent(_: str) -> None:
    """Say nothing."""
