"""The disk step: table and file system, in one sparse file."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from imagekit.disk.layout import Layout, Spot, lay_out
from imagekit.disk.table import write_table
from imagekit.filesystem import (
    Place,
    Settings,
    Type,
    filesystem_uuid,
    identity,
    make,
    measure,
    settled,
    smallest,
    stage,
)
from imagekit.plan import Input, Json

Options = Mapping[str, Json]


def write_disk(inputs: Mapping[str, Input], out: Path, options: Options) -> None:
    """Write a disk image. A step function.

    Inputs: `root`, a root tar, and the folders that it refers to. Options: `layout`; `disk_size`,
    `filesystem_size` (bytes or null), `unit` (bytes; a disk that has no size of its own is a multiple), `free`
    (bytes to leave), `type`, `label`, `block_size`, `epoch`.
    """
    layout = cast("Layout", options["layout"])
    settings = _settings(options, inputs["root"].digest)
    staged = stage(inputs["root"].path, inputs, out.with_name("staged"))
    needs, free = measure(staged.members()), cast("int", options["free"])
    spot = lay_out(
        layout,
        smallest(needs, settings, free),
        disk=cast("int | None", options["disk_size"]),
        filesystem=cast("int | None", options["filesystem_size"]),
        unit=cast("int", options["unit"]),
    )
    _create(out, spot)
    if layout != "plain":
        write_table(out, layout, spot, settings.type, identity(inputs["root"].digest, "disk"))
    make(Place(out, spot.offset, spot.size), settled(needs, settings, free, spot.size), staged)
    shutil.rmtree(staged.folder)  # now: what the disk has not got yet of it, it need never get


def _settings(options: Options, root: str) -> Settings:
    kind, label = cast("Type", options["type"]), cast("str", options["label"])
    return Settings(
        type=kind,
        uuid=filesystem_uuid(root, kind, label),
        epoch=cast("int", options["epoch"]),
        label=label,
        block_size=cast("int", options["block_size"]),
    )


def _create(out: Path, spot: Spot) -> None:
    with out.open("xb") as file:
        os.truncate(file.fileno(), spot.disk)
