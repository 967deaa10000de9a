"""A disk that is really full: a tmpfs of a few hundred KiB, mounted where only the build sees it."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.faults.conftest import IMAGEKIT, Bench

SMALL = """
mount -t tmpfs -o "$2" none "$1" || exit 77
"$3" build "$4" -o "$5" --set root.files='[{from = "'"$6"'"}]' --progress none
code=$?
find "$1" | sort
[ $code = 0 ] && exit 0
# A user who is root only in a namespace of his own cannot do this.
mount -o "remount,size=64m,nr_inodes=10000" "$1" 2>/dev/null || exit $code
"$3" build "$4" -o "$5" --set root.files='[{from = "'"$6"'"}]' --progress none >&2 || exit 1
exit $code
"""


def build(bench: Bench, small: Path, options: str) -> tuple[int, list[Path], str]:
    """Build with a small disk mounted at a folder; return the status, what lies there then, and stderr.

    After a failure there is room, where that can be had, and the same command has to work.
    """
    small.mkdir()
    tree = bench.folder / "tree"
    tree.mkdir()
    (tree / "large").write_bytes(bytes(range(256)) * 4096)
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    argv = ["unshare", *user, "--mount", "sh", "-c", SMALL, "sh"]
    done = subprocess.run(
        [*argv, small, options, IMAGEKIT, bench.kernel, bench.out / "app.raw", tree],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "IMAGEKIT_CACHE_DIR": str(bench.store)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    lines = [line for line in done.stdout.splitlines() if line.startswith(str(small))]
    return done.returncode, [Path(line) for line in lines], done.stderr


@pytest.mark.parametrize(
    "options",
    [
        "size=8k",
        "size=24k",
        "size=64k",
        "size=300k",
        "size=1m",
        "nr_inodes=8",
        "nr_inodes=14",
        "nr_inodes=24",
        "nr_inodes=40",
    ],
)
def test_the_cache(bench: Bench, options: str) -> None:
    code, there, words = build(bench, bench.store, options)
    assert code == 75, words
    assert "is full" in words
    assert "MiB left" in words
    assert "hint: `imagekit cache prune" in words
    assert words.count("error: ") == 1
    assert not [path for path in there if path.parent.name == "tmp"]
    blobs = {path.name for path in there if path.parent.name == "blobs"}
    assert {f"{name}.map" for name in blobs if not name.endswith(".map")} <= blobs
    ends = ("", ".cfg", ".imagekit.json", ".xm.cfg", ".xml")
    assert sorted(bench.files()) in ([], [f"app.raw{end}" for end in ends]), "nothing, or all once there is room"


@pytest.mark.parametrize("options", ["size=4k", "size=8k", "size=300k", "size=1m", "nr_inodes=1", "nr_inodes=3"])
def test_the_place_of_the_artifact(bench: Bench, options: str) -> None:
    code, there, words = build(bench, bench.out, options)
    assert code == 75, words
    assert f"the disk of {bench.out} is full" in words
    assert "hint: make room there, or name another place with -o" in words
    assert bench.out / "app.raw" not in there
    assert not [path for path in there if path.name.startswith(".")]
