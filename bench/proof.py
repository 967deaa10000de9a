"""Rows of PV and PVH guests: their lab made from nothing, its size, proofs of each way to boot, and of a Linux."""

import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.measure import Figures, rounds, told, verdict
from imagekit.prove import Laboratory

ROOT = Path(__file__).parents[1]
MIB = 1 << 20
SIZE, MEMORY = 400 * MIB, 650 * MIB
Row = tuple[str, str, Figures, str]


def rows(work: Path, runs: int, imagekit: str, kernel: Path, environment: Mapping[str, str]) -> Iterator[Row]:
    """Yield the rows: from command to verdict, on a lab that is prepared, and on a cold one; `kernel` is PV."""
    cache = Path(environment["IMAGEKIT_CACHE_DIR"])
    settings = {**environment, "IMAGEKIT_STATE_DIR": str(work / "state")}
    prepare = [imagekit, "prove", "-q", "--prepare"]
    made = rounds({"imagekit": (prepare, lambda: shutil.rmtree(cache, ignore_errors=True))}, settings, 2)[
        "imagekit"
    ]
    yield "prove --prepare, from nothing", "imagekit", made, told(made, seconds=75)
    taken = sum(path.stat().st_blocks * 512 for path in cache.rglob("*") if path.is_file())
    kept = f"at most {SIZE // MIB} MiB: {verdict(taken <= SIZE)}"
    yield "  the lab's size on disk", "imagekit", Figures(0, 0, taken), kept
    for name, (argv, at_most) in _proofs(work, imagekit, kernel, settings).items():
        prove = [imagekit, "prove", "-q", "--expect", "from imagekit", *argv]
        count = 3 if "cold" in name else runs
        figures = rounds({"imagekit": (prove, lambda: None)}, settings, count)["imagekit"]
        yield f"prove, {name}", "imagekit", figures, told(figures, seconds=at_most, memory=MEMORY)
    shell = _linux_with_shell(work, imagekit, settings)
    prove = [imagekit, "prove", "-q", "--expect", "shell: 42", "--power-off", shell]
    figures = rounds({"imagekit": (prove, lambda: None)}, settings, 3)["imagekit"]
    what = "prove, Debian's Linux to its shell, pygrub"
    yield what, "imagekit", figures, told(figures, seconds=40, memory=MEMORY)


def _proofs(
    work: Path, imagekit: str, kernel: Path, environment: Mapping[str, str]
) -> dict[str, tuple[list[str], float]]:
    """Return what is proven, and in how many seconds at most."""
    pvh = kernel.with_name("hello-pvh.xen")
    images = {"pv.raw": (kernel, "xen"), "v.ebs": (kernel, "ebs"), "pvh.raw": (pvh, "xen")}
    paths = {name: str(work / name) for name in images}
    for name, (source, target) in images.items():
        argv = [imagekit, "build", "-q", str(source), "-t", target, "-o", paths[name]]
        subprocess.run(argv, env=environment, check=True, capture_output=True)
    return {
        "PV, direct": ([str(kernel), "--by", "pv"], 2.5),
        "PV GRUB": ([paths["v.ebs"]], 3.2),
        "pygrub": ([paths["pv.raw"]], 5.0),
        "PVH, direct": ([str(pvh), "--by", "pvh"], 3.5),
        "PVH, pygrub": ([paths["pvh.raw"]], 5.0),
        "PVH, GRUB": ([_multiboot_disk(work, pvh), "--by", "multiboot"], 4.5),
        "PV, direct, a cold lab": ([str(kernel), "--by", "pv", "--cold"], 15.0),
    }


def _linux_with_shell(work: Path, imagekit: str, environment: Mapping[str, str]) -> str:
    """Build the image that `make prove` boots, by the same recipe and with the same initramfs."""
    sys.path.append(str(ROOT / "tools"))  # what a script there imports
    images = runpy.run_path(str(ROOT / "tools" / "boot_images.py"))
    Laboratory(images["CACHE"], images["STATE"], note=print).prepare()  # its dom0 has the busybox
    image = work / "linux.raw"
    more = ["--set", f"ramdisk='{images['initramfs']()}'", "--set", "memory='128MiB'", "-o", str(image)]
    recipe = work / "linux.toml"
    recipe.write_text('kernel = "${LINUX}"\nvariables = ["LINUX"]\ncmdline = "console=hvc0 panic=-1"\n')
    with_linux = {**environment, "LINUX": str(images["linux"]())}
    subprocess.run([imagekit, "build", "-q", str(recipe), *more], env=with_linux, check=True)
    return str(image)


def _multiboot_disk(work: Path, kernel: Path) -> str:
    tree, disk = work / "multiboot", work / "multiboot.img"
    (tree / "boot" / "grub").mkdir(parents=True, exist_ok=True)
    shutil.copy(kernel, tree / "boot" / "app.xen")
    (tree / "boot" / "grub" / "grub.cfg").write_text(_MULTIBOOT)
    make = [str(shutil.which("mke2fs")), "-q", "-F", "-t", "ext2", "-d", str(tree), str(disk), "8M"]
    subprocess.run(make, check=True)
    return str(disk)


_MULTIBOOT = "set timeout=0\nmenuentry bench {\nmultiboot /boot/app.xen\n}\n"
