"""`imagekit convert`."""

import json
import os
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagekit.cli import asked
from imagekit.cli.console import AsJson, Verbose, say, tell
from imagekit.errors import UsageError

if TYPE_CHECKING:
    from imagekit.formats.xapi import Appliance

_MEMORY = "256MiB"


class To(StrEnum):
    """Values of --to."""

    RAW = "raw"
    VHD = "vhd"
    XVA = "xva"


class Guest(StrEnum):
    """Values of --guest."""

    PV = "pv"
    PVH = "pvh"
    HVM = "hvm"


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="A raw disk, a VHD, an XVA, an AMI bundle's manifest.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Its ending tells the form: .raw, .img, .vhd, .xva.")],
    to: Annotated[To | None, typer.Option("--to", help="The form, whatever the ending.")] = None,
    parent: Annotated[
        Path | None,
        typer.Option(metavar="FILE.vhd", help="Make a differencing VHD over this one, which lies beside it."),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Of the XVA's VM. [default: 256MiB]", show_default=False)
    ] = None,
    guest: Annotated[
        Guest | None,
        typer.Option(
            help="The XVA's VM boots by pygrub (pv, pvh) or its disk's BIOS loader. [default: what boots IN]",
            show_default=False,
        ),
    ] = None,
    private_key: asked.PrivateKey = None,
    as_json: AsJson = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Turn a disk into a raw file, a VHD, or an XVA, which holds a VM of OUT's name; the same bytes every time.

    imagekit convert app.raw app.vhd
    """
    from imagekit import convert as converting  # noqa: PLC0415 -- --help need not import it
    from imagekit.recipe import epoch  # noqa: PLC0415
    from imagekit.unwrap import Form  # noqa: PLC0415

    form = Form(to.value) if to else converting.form_by_name(out)
    if form is not Form.XVA and (memory or guest):
        raise UsageError("an XVA holds a VM, and nothing else does", hint="--memory and --guest are for OUT.xva")
    machine = _machine(source, out, memory, guest, private_key) if form is Form.XVA else None
    converting.convert(
        source, out, form, epoch=epoch(os.environ), parent=parent, private_key=private_key, machine=machine
    )
    if as_json:
        say(json.dumps({"path": str(out), "form": form.value, "size": out.stat().st_size}))
    else:
        say(str(out))


def _machine(
    source: Path, out: Path, memory: str | None, guest: Guest | None, private_key: Path | None
) -> "Appliance":
    """Return the VM of an XVA; UsageError for an amount of memory that none has, KernelError for no such guest."""
    from imagekit.artifact import Sidecar  # noqa: PLC0415
    from imagekit.convert import choose_guest  # noqa: PLC0415
    from imagekit.formats.xapi import Appliance  # noqa: PLC0415 -- only an XVA has a VM
    from imagekit.recipe.values import parse_size  # noqa: PLC0415

    try:
        size = parse_size(memory or _MEMORY)
    except ValueError as error:
        raise UsageError(f"--memory {memory} is no size", details=str(error)) from None
    sidecar = None if guest else Sidecar.read(source)
    own = sidecar.boot.get("guest") if sidecar is not None else None
    wanted = guest or next((one for one in Guest if one == own), None)
    machine = Appliance(name=out.stem, memory=size)
    kind, warning = choose_guest(source, wanted.value if wanted else None, private_key)
    if warning:
        tell(f"warning: {warning}")
    return replace(machine, kind=kind)
