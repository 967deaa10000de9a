"""Rows of the upload to Glance: a VHD into a real one on this machine, against `openstack image create`.

Needs what tools/setup-openstack brings, and python-openstackclient in build/bench-venv.
"""

import os
import random
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.measure import Figures, rounds
from tests.openstack.configuration import Limits
from tests.openstack.servers import environment, servers

ROOT = Path(__file__).parents[1]
CLIENT = ROOT / "build" / "bench-venv" / "bin" / "openstack"
MIB, GIB = 1 << 20, 1 << 30
RATIO = 0.9
MEMORY = 150 * MIB
Row = tuple[str, str, Figures, str]


def rows(work: Path, runs: int, imagekit: str, kernel: Path, around: Mapping[str, str]) -> Iterator[Row]:
    """Yield the rows."""
    places = {"IMAGEKIT_STATE_DIR": str(work / "state"), "HOME": str(work)}
    with servers(work / "cloud", limits=Limits(8 * GIB, 64 * GIB), gated=False) as ports:
        settings = {**around, **places, **environment(ports)}
        full = _built(work, "full.vhd", "", 1000 * MIB, imagekit, kernel, settings)
        little, packed = (
            _built(work, name, 'disk.size = "10GiB"\n', 8 * MIB, imagekit, kernel, settings)
            for name in ("little.vhd", "little.tgz")
        )

        def forget() -> None:
            script = (
                "import openstack\nwith openstack.connect() as cloud:\n"
                "    for one in cloud.image.images(): cloud.image.delete_image(one)\n"
            )
            python = str(Path(imagekit).with_name("python"))
            subprocess.run([python, "-W", "ignore", "-c", script], env=settings, check=True)

        def publish(path: Path) -> list[str]:
            return [imagekit, "publish", "-q", str(path), "--hypervisor", "xen"]

        create = [str(CLIENT), "image", "create", "--disk-format", "vhd", "--container-format", "bare"]
        commands = {
            "imagekit": (publish(full), forget),
            "openstack image create": ([*create, "--file", str(full), "full", "-f", "value", "-c", "id"], forget),
        }
        figures = rounds(commands, settings, max(3, runs // 2))
        ours, theirs = figures["imagekit"], figures["openstack image create"]
        size, name = full.stat().st_size / MIB, "1 GiB VHD into Glance"
        ratio = theirs.seconds / ours.seconds
        told = f"{size / ours.seconds:.0f} MiB/s, {ratio:.2f} of the client's speed"
        told += f" (at least {RATIO}: {_verdict(ratio >= RATIO)})"
        told += f"; at most {MEMORY // MIB} MiB: {_verdict(ours.memory <= MEMORY)}"
        yield name, "imagekit", ours, told
        yield name, "openstack image create", theirs, f"{size / theirs.seconds:.0f} MiB/s"
        sparse = rounds({"imagekit": (publish(little), forget)}, settings, 3)["imagekit"]
        told = f"{little.stat().st_size / MIB:.1f} MiB over the wire; as .tgz: {packed.stat().st_size / MIB:.1f}"
        told += f"; raw: {10 * GIB // MIB}"
        yield "10 GiB that hold 8 MiB, the same", "imagekit", sparse, told


def _built(
    work: Path, name: str, more: str, length: int, imagekit: str, kernel: Path, settings: Mapping[str, str]
) -> Path:
    """Build a VHD, or its .tgz, of the target openstack whose file system has so much random data."""
    data, recipe, path = work / f"{name}.data", work / f"{name}.toml", work / name
    form = {".vhd": "vhd", ".tgz": "ovf"}[path.suffix]
    source = random.Random(1)  # noqa: S311 -- content that does not compress, the same every time
    with data.open("wb") as file:
        for _ in range(0, length, MIB):
            file.write(source.randbytes(MIB))
    recipe.write_text(
        f'kernel = "{kernel}"\n{more}[openstack]\nformat = "{form}"\n'
        f'[[root.files]]\nfrom = "{data}"\nto = "/data"\n'
    )
    argv = [imagekit, "build", "-q", str(recipe), "-t", "openstack", "-o", str(path)]
    subprocess.run(argv, env=settings, check=True, stdout=subprocess.DEVNULL)
    os.sync()
    return path


def _verdict(kept: bool) -> str:
    return "yes" if kept else "NO"
