"""`make bench`: imagekit against the tools that people use today, medians and ratios in one run, as one table.

bench.py [--runs N] [--only ROW]… [--work FOLDER]; a peer that is not installed is left out, and named.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import ami, ebs, farm, glance, hvm_proof, pool, proof, systems, vhd
from bench.measure import Figures, rounds, told, verdict

ROOT = Path(__file__).parents[1]
KERNEL = ROOT / "build" / "kernels" / "hello.xen"
IMAGEKIT = str(Path(sys.executable).with_name("imagekit"))
MIB = 1 << 20

Row = tuple[str, str, Figures, str]


class Bench:
    """The rows of the table, each a method; `work` is a scratch folder on a real disk."""

    def __init__(self, work: Path, runs: int) -> None:
        self.work = work
        self.runs = runs
        self.environment = {**os.environ, "IMAGEKIT_CACHE_DIR": str(work / "cache"), "LC_ALL": "C.UTF-8"}
        self.environment |= {"LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.missing: list[str] = []

    def help(self) -> Iterator[Row]:
        """`imagekit --help`."""
        yield from self._compared("--help", {"imagekit": ([IMAGEKIT, "--help"], _nothing)}, at_most=0.2)

    def image(self) -> Iterator[Row]:
        """One kernel to a plain raw image, nothing cached, as whole processes; the peers get the same tree."""
        tree = self._small_tree()
        commands = {
            "imagekit": ([IMAGEKIT, "build", str(KERNEL), "-q", "-o", str(self.work / "a.raw")], self._forget),
            "mke2fs + debugfs": (["sh", "-ec", _SMALL_SHELL, "sh", str(tree), str(self.work)], self._forget),
        }
        if self._has("genimage"):
            commands["genimage"] = (self._genimage(tree), self._fresh("genimage-tmp", "genimage-out"))
        if self._has("virt-make-fs"):
            make_fs = ["virt-make-fs", "--type=ext2", "--format=raw", str(tree), str(self.work / "v.raw")]
            commands["virt-make-fs"] = (make_fs, _nothing)
        yield from self._compared("kernel → 2 MiB raw, cold", commands, at_most=0.5)

    def hvm(self) -> Iterator[Row]:
        """A disk for an HVM guest, GRUB in its boot sector; the peer's is copied there, and boots nothing."""
        kernel = KERNEL.with_name("hello-pvh.xen")
        tree = self.work / "hvm"
        (tree / "boot" / "grub").mkdir(parents=True)
        shutil.copyfile(kernel, tree / "boot" / "app.xen")
        (tree / "boot" / "grub" / "grub.cfg").write_text("set timeout=0\nmultiboot /boot/app.xen\nboot\n")
        argv = [IMAGEKIT, "build", str(kernel), "--boot", "hvm", "-q", "-o", str(self.work / "h.raw")]
        by_hand = ["sh", "-ec", _HVM_SHELL, "sh", str(tree), str(self.work)]
        commands = {"imagekit": (argv, self._forget), "mke2fs, grub-mkimage, dd": (by_hand, _nothing)}
        yield from self._compared("kernel → 3 MiB HVM disk, cold", commands, at_most=0.6)
        yield from self._compared("  the same, cached", {"imagekit": (argv, _nothing)}, at_most=0.25)

    def diskimage_builder(self) -> Iterator[Row]:
        """The same tree by disk-image-create: root, a loop device, an element, and 1 GiB for its journal."""
        create = ROOT / "build" / "bench-venv" / "bin" / "disk-image-create"
        if not create.exists() or os.geteuid() != 0:
            self.missing.append("disk-image-create (as root; pip install diskimage-builder in build/bench-venv)")
            return
        elements = self._element(self._small_tree())
        environment = {"ELEMENTS_PATH": str(elements), "PATH": f"{create.parent}:{os.environ['PATH']}"}
        self.environment |= environment
        argv = [str(create), "--image-size", "1", "-t", "raw", "-n", "-o", str(self.work / "dib"), "tiny"]
        commands = {
            "imagekit": ([IMAGEKIT, "build", str(KERNEL), "-q", "-o", str(self.work / "a.raw")], self._forget),
            "disk-image-create": (argv, _nothing),
        }
        yield from self._compared("kernel → raw, cold", commands)

    def library(self) -> Iterator[Row]:
        """The same as a library call, in a process that is up."""
        script = ROOT / "bench" / "library.py"
        out = subprocess.run(
            [sys.executable, str(script), str(KERNEL), str(self.work), str(self.runs * 4)],
            env=self.environment, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        figures = Figures(statistics.median(map(float, out.split())), 0, 0)
        yield "kernel → raw, cold, library call", "imagekit.make", figures, told(figures, seconds=0.1)

    def cached(self) -> Iterator[Row]:
        """The same again, all in the cache."""
        for name, options in (("16 MiB xen", ["--size", "16MiB"]), ("1 GiB ebs", ["--target", "ebs"])):
            argv = [IMAGEKIT, "build", str(KERNEL), "-q", *options, "-o", str(self.work / "c.raw")]
            yield from self._compared(f"{name}, cached", {"imagekit": (argv, _nothing)}, at_most=0.25)

    def tree(self) -> Iterator[Row]:
        """A tree of 20,000 files and 2 GiB to an MBR disk, against mke2fs -d + sfdisk + fsync + hash + copy."""
        tree = self.work / "tree"
        _random_tree(tree, files=20_000, total=2 << 30)
        recipe = self._recipe("tree", tree, "")
        commands = {
            "imagekit": ([IMAGEKIT, "build", str(recipe), "-q", "-o", str(self.work / "t.raw")], self._forget),
            "mke2fs -d + sfdisk": (
                ["sh", "-ec", _LARGE_SHELL, "sh", str(tree), "2400", "2398", str(self.work)], self._forget,
            ),
        }  # fmt: skip
        yield from self._compared("2 GiB, 20,000 files → mbr", commands, ratio=1.3, memory=150 * MIB)
        shutil.rmtree(tree)

    def sparse(self) -> Iterator[Row]:
        """An 8 GiB disk that holds 64 MiB, against the same."""
        tree = self.work / "little"
        _random_tree(tree, files=64, total=64 * MIB)
        recipe = self._recipe("little", tree, 'size = "8GiB"')
        commands = {
            "imagekit": ([IMAGEKIT, "build", str(recipe), "-q", "-o", str(self.work / "s.raw")], self._forget),
            "mke2fs -d + sfdisk": (
                ["sh", "-ec", _LARGE_SHELL, "sh", str(tree), "8192", "8190", str(self.work)], self._forget,
            ),
        }  # fmt: skip
        yield from self._compared("8 GiB disk with 64 MiB → mbr", commands, ratio=1.3, memory=150 * MIB)
        subprocess.run(commands["imagekit"][0], env=self.environment, check=True, capture_output=True)
        taken = (self.work / "s.raw").stat().st_blocks * 512
        yield "  its size on disk", "imagekit", Figures(0, 0, taken), ""

    def prove(self) -> Iterator[Row]:
        """PV and PVH guests, proven."""
        yield from proof.rows(self.work, self.runs, IMAGEKIT, KERNEL, self.environment)

    def prove_hvm(self) -> Iterator[Row]:
        """HVM guests, proven."""
        pvh = KERNEL.with_name("hello-pvh.xen")
        yield from hvm_proof.rows(self.work, self.runs, IMAGEKIT, pvh, self.environment)

    def ebs(self) -> Iterator[Row]:
        """Blocks put over TLS; and 100 GiB with 64 MiB of data, published to a rehearsed account."""
        yield from ebs.rows(self.work, self.runs)
        self.environment["IMAGEKIT_STATE_DIR"] = str(self.work / "state")
        tree = self.work / "64MiB"
        tree.mkdir()
        (tree / "data").write_bytes(os.urandom(64 * MIB))
        recipe = self._recipe("vast", tree, 'size = "100GiB"\n[filesystem]\ntype = "ext4"\n')
        build = [IMAGEKIT, "build", "-q", str(recipe), "-t", "ebs", "-o", str(self.work / "vast.ebs")]
        subprocess.run(build, env=self.environment, check=True, capture_output=True)
        publish = [IMAGEKIT, "publish", "-q", str(self.work / "vast.ebs"), "--rehearse", "--region", "eu-west-1"]
        yield from self._compared(
            "100 GiB that hold 64 MiB, to an AMI", {"imagekit": (publish, _nothing)}, at_most=5, memory=150 * MIB
        )

    def ami(self) -> Iterator[Row]:
        """AMI bundles, made and opened."""
        yield from ami.rows(self.work, max(3, self.runs // 3), self.environment)

    def vhd(self) -> Iterator[Row]:
        """Raw to VHD and back."""
        yield from vhd.rows(self.work, self.runs, self.environment)

    def pool(self) -> Iterator[Row]:
        """A VHD to a pool, over TLS."""
        yield from pool.rows(self.work, self.runs)

    def glance(self) -> Iterator[Row]:
        """A VHD into Glance."""
        if not glance.CLIENT.exists():
            self.missing.append("openstack (pip install python-openstackclient in build/bench-venv)")
            return
        yield from glance.rows(self.work, self.runs, IMAGEKIT, KERNEL, self.environment)

    def systems(self) -> Iterator[Row]:
        """A whole system's tree, and its tar, to a disk."""
        yield from systems.rows(self.work, max(3, self.runs // 3), KERNEL, self.environment)

    def farm(self) -> Iterator[Row]:
        """Many kernels at once."""
        self.environment["IMAGEKIT_STATE_DIR"] = str(self.work / "state")
        yield from farm.rows(self.work, KERNEL, IMAGEKIT, self.environment)

    def _compared(
        self,
        name: str,
        commands: dict[str, tuple[list[str], Callable[[], None]]],
        *,
        at_most: float | None = None,
        ratio: float | None = None,
        memory: int | None = None,
    ) -> Iterator[Row]:
        slow = ratio is not None or "disk-image-create" in commands or "virt-make-fs" in commands
        count = max(2, self.runs // 2) if slow else self.runs
        figures = rounds(commands, self.environment, count)
        ours = figures["imagekit"]
        for peer, taken in figures.items():
            if peer == "imagekit":
                yield name, peer, taken, told(taken, seconds=at_most, memory=memory)
            else:
                seen = ours.seconds / taken.seconds
                most = 1 / 30 if peer == "virt-make-fs" else ratio
                wanted = f" (at most {most:.3g}: {verdict(seen <= most)})" if most else ""
                yield name, peer, taken, f"imagekit / it = {seen:.3g}{wanted}"

    def _recipe(self, name: str, tree: Path, more: str) -> Path:
        recipe = self.work / f"{name}.toml"
        recipe.write_text(
            f'kernel = "{KERNEL}"\n[disk]\nlayout = "mbr"\n{more}\n[[root.files]]\nfrom = "{tree}"\nto = "/srv"\n'
        )
        return recipe

    def _small_tree(self) -> Path:
        tree = self.work / "small"
        if not tree.exists():
            (tree / "boot" / "grub").mkdir(parents=True)
            shutil.copy(KERNEL, tree / "boot" / "hello.xen")
            menu = "default 0\ntimeout 0\ntitle hello\nroot (hd0)\nkernel /boot/hello.xen\n"
            (tree / "boot" / "grub" / "menu.lst").write_text(menu)
        return tree

    def _genimage(self, tree: Path) -> list[str]:
        config = self.work / "genimage.cfg"
        config.write_text("image g.raw {\next2 {\nlabel = hello\nuse-mke2fs = true\n}\nsize = 2M\n}\n")
        scratch, out = self.work / "genimage-tmp", self.work / "genimage-out"
        places = {"rootpath": tree, "inputpath": tree, "tmppath": scratch}
        places |= {"outputpath": out, "config": config}
        return ["genimage", *(f"--{name}={place}" for name, place in places.items())]

    def _element(self, tree: Path) -> Path:
        root = self.work / "elements" / "tiny" / "root.d"
        root.mkdir(parents=True, exist_ok=True)
        (root.parent / "element-provides").write_text("operating-system\n")
        script = root / "10-tree"
        folders = "tmp etc proc sys dev usr/bin var/lib var/log root"
        script.write_text(
            f'#!/bin/sh\nset -e\ncp -a {tree}/. "$TARGET_ROOT"\ncd "$TARGET_ROOT"\n'
            f"mkdir -p {folders}\ntouch etc/resolv.conf\n"
        )
        script.chmod(0o755)
        return self.work / "elements"

    def _has(self, program: str) -> bool:
        if shutil.which(program) is None:
            self.missing.append(program)
            return False
        return True

    def _forget(self) -> None:
        shutil.rmtree(self.work / "cache", ignore_errors=True)
        for left in self.work.glob("*.raw"):
            left.unlink()
        os.sync()

    def _fresh(self, *names: str) -> Callable[[], None]:
        def clean() -> None:
            for name in names:
                shutil.rmtree(self.work / name, ignore_errors=True)

        return clean


_SMALL_SHELL = """
truncate -s 2M "$2/p.raw"
mke2fs -q -F -t ext2 -b 1024 -d "$1" "$2/p.raw"
printf 'sif /boot uid 0\\nsif /boot/hello.xen ctime @0\\n' >"$2/batch"
debugfs -w -f "$2/batch" "$2/p.raw"
"""
_HVM_SHELL = """
rm -f "$2/p.raw"
truncate -s 3M "$2/p.raw"
mke2fs -q -F -t ext2 -b 1024 -d "$1" -E offset=1048576 "$2/p.raw" 2M
echo 'start=2048, bootable' | sfdisk -q "$2/p.raw"
grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o "$2/core.img" \
  biosdisk part_msdos ext2 normal multiboot serial terminal echo test boot iorw
dd if=/usr/lib/grub/i386-pc/boot.img of="$2/p.raw" bs=440 count=1 conv=notrunc status=none
dd if="$2/core.img" of="$2/p.raw" bs=512 seek=1 conv=notrunc status=none
"""
# Hashed by openssl, which uses the SHA instructions as Python does; sha256sum takes five times as long.
_LARGE_SHELL = """
truncate -s "$2M" "$4/p.raw"
mke2fs -q -F -t ext2 -b 4096 -d "$1" -E offset=1048576 "$4/p.raw" "$3M"
echo 'start=2048' | sfdisk -q "$4/p.raw"
sync "$4/p.raw"
openssl dgst -sha256 "$4/p.raw"
cp --sparse=always "$4/p.raw" "$4/q.raw"
"""


def _random_tree(folder: Path, *, files: int, total: int) -> None:
    source = random.Random(1)  # noqa: S311 -- content that does not compress, the same every time
    for number in range(files):
        place = folder / f"d{number % 200:03}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"f{number}").write_bytes(source.randbytes(total // files))
    os.sync()


def _nothing() -> None:
    """Prepare nothing."""


def _amount(number: int) -> str:
    return f"{number / MIB:.1f}" if number else ""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    rows = (
        "help",
        "image",
        "diskimage_builder",
        "library",
        "hvm",
        "cached",
        "tree",
        "sparse",
        "prove",
        "prove_hvm",
        "ebs",
        "ami",
        "vhd",
        "pool",
        "glance",
        "farm",
        "systems",
    )
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--only", action="append", choices=rows)
    parser.add_argument("--work", type=Path, help="where to work; needs 16 GiB")
    asked = parser.parse_args()
    print(f"imagekit bench, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} processors, {asked.runs} runs, medians")
    print(f"{'what':34} {'by':20} {'seconds':>8} {'peak MiB':>9} {'written MiB':>12}  ")
    with tempfile.TemporaryDirectory(dir=asked.work, prefix="imagekit-bench-") as work:
        bench, broken = Bench(Path(work), asked.runs), 0
        for name in asked.only or rows:
            for what, who, taken, kept in getattr(bench, name)():
                memory, written = _amount(taken.memory), _amount(taken.written)
                seconds = f"{taken.seconds:.3f}" if taken.seconds else ""
                print(f"{what:34} {who:20} {seconds:>8} {memory:>9} {written:>12}  {kept}", flush=True)
                broken += "NO" in kept
        for missing in dict.fromkeys(bench.missing):
            print(f"not compared, because not installed: {missing}")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
