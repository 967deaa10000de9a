"""Rows of whole systems: a tree of 850 MB to ext4 on an MBR disk, as a folder and as a tar, and once more.

The tree is every n-th folder of this machine's /usr, by name: real programs, libraries and texts.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path

from bench.measure import Figures, once, rounds

IMAGEKIT = str(Path(sys.executable).with_name("imagekit"))
MIB = 1 << 20
TOTAL, FILES, LARGE = 850 * 10**6, 20_000, 4 * MIB
MEMORY = 200 * MIB
FOLDER, TAR, VIRT = 1.2, 1.3, 1 / 5  # of the peers' times
Row = tuple[str, str, Figures, str]
Commands = dict[str, tuple[list[str], Callable[[], None]]]

# The same disk by hand, on the disk (fsync) as ours is.
_DISK = """
truncate -s 1200M "$3/p.raw"
echo 'start=2048, type=83' | sfdisk -q "$3/p.raw"
mke2fs -q -F -t ext4 -b 4096 -L root -d "$2" "$3/p.fs" 1198M
dd if="$3/p.fs" of="$3/p.raw" bs=1M seek=1 conv=notrunc,sparse,fsync status=none
rm "$3/p.fs"
"""
_FOLDER = f'set -- "" "$1" "$2"\n{_DISK}'
_TAR = f'mkdir "$2/x"\ntar -x -f "$1" -C "$2/x"\nset -- "" "$2/x" "$2"\n{_DISK}rm -r "$3/x"\n'


def rows(work: Path, runs: int, kernel: Path, environment: Mapping[str, str]) -> Iterator[Row]:
    """Yield them all."""
    tree, tar = work / "usr-tree", work / "usr-tree.tar"
    told = copied(tree)
    subprocess.run([str(shutil.which("tar")), "-c", "-f", str(tar), "-C", str(tree), "."], check=True)
    os.sync()
    cache = work / "cache"

    def forget() -> None:
        for left in (cache, work / "x"):
            shutil.rmtree(left, ignore_errors=True)
        for left in work.glob("*.raw"):
            left.unlink()
        os.sync()

    ours = {source: build(work, source, kernel) for source in (tree, tar)}
    peer = "mke2fs -d, sfdisk, dd"
    by_hand: Commands = {"imagekit": (ours[tree], forget), peer: (shell(_FOLDER, tree, work), forget)}
    found = list(compared(f"{told} → ext4, mbr", by_hand, FOLDER, runs, environment))
    yield from found
    if shutil.which("virt-make-fs"):
        yield from by_appliance(found[0], tree, work, environment)
    yield from again(ours[tree], tree, runs, environment)
    by_hand = {"imagekit": (ours[tar], forget), f"tar x, {peer}": (shell(_TAR, tar, work), forget)}
    yield from compared("the same, as a tar", by_hand, TAR, runs, environment)
    shutil.rmtree(tree)
    tar.unlink()


def by_appliance(ours: Row, tree: Path, work: Path, environment: Mapping[str, str]) -> Iterator[Row]:
    """Yield virt-make-fs's row: once, since it takes minutes."""
    # Its own guess of the size is too small for a tree of small files.
    form = ["--partition=mbr", "--type=ext4", "--format=raw", "--size=1200M"]
    argv = ["virt-make-fs", *form, str(tree), str(work / "v.raw")]
    taken = Figures.of([once(argv, environment)])
    seen = ours[2].seconds / taken.seconds
    yield ours[0], "virt-make-fs", taken, f"imagekit / it = {seen:.3g} (at most {VIRT}: {_verdict(seen <= VIRT)})"


def copied(tree: Path) -> str:
    """Copy every n-th folder of /usr, at most 850 MB and 20,000 files, and return what they come to."""
    folders = {
        Path(folder): sorted(file for file in map(Path(folder).joinpath, files) if not file.is_symlink())
        for folder, _, files in os.walk("/usr")
    }
    every = max(1, sum(map(len, folders.values())) // FILES)
    found = [(path.stat().st_size, path) for folder in sorted(folders)[::every] for path in folders[folder]]
    total = files = 0
    # The largest last: what is left of the 850 MB is theirs.
    for size, path in sorted(found, key=lambda item: (item[0] > LARGE, item[1])):
        if total + size <= TOTAL and files < FILES:
            place = tree / path.relative_to("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
            total, files = total + size, files + 1
    return f"{total // 10**6} MB, {files} files of /usr"


def build(work: Path, source: Path, kernel: Path) -> list[str]:
    """Write the recipe of a source and return the command that builds it."""
    recipe = work / f"{source.name}.toml"
    recipe.write_text(
        f'kernel = "{kernel}"\n[root]\nfrom = "{source}"\n[disk]\nlayout = "mbr"\nsize = "1200MiB"\n'
        '[filesystem]\ntype = "ext4"\nlabel = "root"\n'
    )
    return [IMAGEKIT, "build", "-q", str(recipe), "-o", str(work / "o.raw")]


def shell(script: str, source: Path, work: Path) -> list[str]:
    """Return the command of a script."""
    return ["sh", "-ec", script, "sh", str(source), str(work)]


def again(argv: list[str], tree: Path, runs: int, environment: Mapping[str, str]) -> Iterator[Row]:
    """Yield the row of the same tree with one file changed, and of one that is as it was."""
    changed, number = tree / "usr" / "changed", count()

    def change() -> None:
        changed.write_text(f"{next(number)}\n")
        os.sync()

    figures = rounds({"imagekit": (argv, change)}, environment, runs)["imagekit"]
    change()
    plan = [argv[0], "plan", argv[3]]
    said = subprocess.run(plan, env=dict(environment), check=True, capture_output=True, text=True).stdout
    cached = re.findall(r"^\S+ +(\S+) +\S+ +cached ", said, re.MULTILINE)
    subprocess.run(argv, env=dict(environment), check=True, capture_output=True)
    yield "  the same, one file changed", "imagekit", figures, f"cached: {', '.join(cached)}"
    figures = rounds({"imagekit": (argv, lambda: None)}, environment, runs)["imagekit"]
    yield "  the same, nothing changed", "imagekit", figures, "all cached; the folder is hashed"
    changed.unlink()


def compared(
    name: str, commands: Commands, ratio: float, runs: int, environment: Mapping[str, str]
) -> Iterator[Row]:
    """Yield ours with its memory, and a peer with the ratio."""
    figures = rounds(commands, environment, runs)
    for who, taken in figures.items():
        if who == "imagekit":
            yield name, who, taken, f"at most {MEMORY // MIB} MiB: {_verdict(taken.memory <= MEMORY)}"
        else:
            seen = figures["imagekit"].seconds / taken.seconds
            yield name, who, taken, f"imagekit / it = {seen:.3g} (at most {ratio:.3g}: {_verdict(seen <= ratio)})"


def _verdict(kept: bool) -> str:
    return "yes" if kept else "NO"
