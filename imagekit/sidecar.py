"""The step that writes an artifact's sidecar: what its plan knew, and the digests of what was made."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from imagekit.artifact import Sidecar, Wrapped
from imagekit.disk import BOOT_LABEL, Layout, boot_uuid, partition_offset
from imagekit.filesystem import filesystem_uuid, identity
from imagekit.plan import Input, Json


def write_sidecar(inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    """Write an artifact's sidecar. A step function."""
    on_disk = "disk" in inputs
    blocks = inputs["disk" if on_disk else "kernel"].blocks()
    companions = {
        name.removeprefix("companion"): source.digest
        for name, source in inputs.items()
        if name.startswith("companion")
    }
    sidecar = Sidecar(
        image=cast("str", options["image"]),
        target=cast("str", options["target"]),
        architecture=cast("str", options["architecture"]),
        kernel={
            **cast("dict[str, Json]", options["facts"]),
            "digest": inputs["kernel"].digest,
            "path": options["kernel_path"],
        },
        layout=_layout(inputs["root"].digest, options) if on_disk else None,
        boot=cast("Mapping[str, Json]", options["boot"]),
        digest=blocks.digest,
        length=blocks.length,
        companions=companions,
        blocks=blocks if options.get("blocks") else None,
        file=_wrapped(inputs["file"], cast("str", options["form"])) if "file" in inputs else None,
    )
    out.write_bytes(sidecar.to_bytes())


def _layout(root: str, options: Mapping[str, Json]) -> dict[str, Json]:
    """Return where things lie on the disk, and the identities that come of the root's digest."""
    layout, kind, label = (cast("str", options[name]) for name in ("layout", "type", "label"))
    return {
        "disk": layout,
        "identity": None if layout == "plain" else identity(root, "disk").hex(),
        "offset": partition_offset(cast("Layout", layout)) + cast("int", options.get("boot_size", 0)),
        "filesystem": {"type": kind, "label": label, "uuid": filesystem_uuid(root, kind, label)},
        **_more(root, options),
    }


def _more(root: str, options: Mapping[str, Json]) -> dict[str, Json]:
    """Return what a layout has beside the root's file system, as far as it has it."""
    found: dict[str, Json] = {}
    if boot := options.get("boot_size"):
        found["boot"] = {"size": boot, "label": BOOT_LABEL, "uuid": boot_uuid(root)}
    if lvm := options.get("lvm"):
        found["lvm"] = lvm
    if options.get("guestfs"):
        found["maker"] = "guestfs"
    return found


def _wrapped(file: Input, form: str) -> Wrapped:
    return Wrapped(form=form, digest=file.digest, length=file.blocks().length)
