"""kill -9 and full disks under bundle, unbundle and a build for instance store: nothing is half."""

import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from imagekit.command import run
from tests.faults.conftest import IMAGEKIT, Bench, ended

MIB = 1 << 20
SIZE = 48 * MIB
SELF_SIGNED = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/", "-keyout")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of an image of several parts, keys, and the bundle of an undisturbed run."""
    folder = tmp_path_factory.mktemp("ground")
    (folder / "app.img").write_bytes(random.Random(1).randbytes(SIZE))  # noqa: S311 -- data, no secret
    for name in ("own", "ec2"):
        run("openssl", *SELF_SIGNED, folder / f"{name}.key", "-out", folder / f"{name}.pem")
    run(str(IMAGEKIT), *map(str, bundling(folder, folder / "good")))
    assert len(os.listdir(folder / "good")) == 6
    return folder


def bundling(ground: Path, out: Path) -> tuple[str | Path, ...]:
    keys = ("--private-key", ground / "own.key", "--ec2-cert", ground / "ec2.pem", "--user", "123456789012")
    return ("bundle", ground / "app.img", "-o", out, "--reproducible", *keys)


def unbundling(ground: Path, out: Path) -> tuple[str | Path, ...]:
    return ("unbundle", ground / "good" / "app.manifest.xml", "-o", out, "--private-key", ground / "own.key")


def visible(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.glob("*") if not path.name.startswith(".")]
    return {path.name: path.read_bytes() for path in found}


@pytest.mark.parametrize("part", range(3))
def test_a_killed_bundle(bench: Bench, ground: Path, part: int) -> None:
    """12 kills, from before the first line of our code runs to about the end."""
    good = visible(ground / "good")
    for number in range(part, 12, 3):
        process = bench.start(*bundling(ground, bench.out))
        time.sleep(0.1 + number * 0.06)
        process.kill()
        process.wait()
        there = visible(bench.out)
        assert there == {name: good[name] for name in there}, "every final name is whole"
        if "app.manifest.xml" in there:
            assert there == good, "the manifest comes last"
        assert ended(bench.start(*bundling(ground, bench.out)))[0] == 0
        assert visible(bench.out) == good
        assert len(os.listdir(bench.out)) == len(good), "what the killed one left is swept up"
        bench.clear()


@pytest.mark.parametrize("part", range(2))
def test_a_killed_bundle_over_an_old_one(bench: Bench, ground: Path, part: int) -> None:
    """A manifest is never there beside parts that are not its own."""
    good = visible(ground / "good")
    other = bench.folder / "app.img"
    other.write_bytes(bytes(range(256)) * 4096)
    keys = bundling(ground, bench.out)[4:]
    for number in range(part, 8, 2):
        assert ended(bench.start("bundle", other, "-o", bench.out, *keys))[0] == 0
        old = visible(bench.out)
        process = bench.start(*bundling(ground, bench.out))
        time.sleep(0.3 + number * 0.06)
        process.kill()
        process.wait()
        there = visible(bench.out)
        if "app.manifest.xml" in there:
            assert there in (old, good)
        bench.clear()


@pytest.mark.parametrize("part", range(2))
def test_a_killed_unbundle(bench: Bench, ground: Path, part: int) -> None:
    out = bench.out / "back"
    for number in range(part, 8, 2):
        process = bench.start(*unbundling(ground, out))
        time.sleep(0.1 + number * 0.07)
        process.kill()
        process.wait()
        assert not out.exists() or out.read_bytes() == (ground / "app.img").read_bytes()
        assert ended(bench.start(*unbundling(ground, out)))[0] == 0
        assert out.read_bytes() == (ground / "app.img").read_bytes()
        assert os.listdir(bench.out) == ["back"]
        bench.clear()


def test_a_killed_build(bench: Bench, ground: Path) -> None:
    tree = bench.folder / "tree"
    tree.mkdir()
    (tree / "large").hardlink_to(ground / "app.img")
    settings = (f"root.files=[{{from = '{tree}'}}]", f"ami.ec2_cert='{ground}/ec2.pem'")
    more = [word for setting in settings for word in ("--set", setting)]
    keys = {"EC2_PRIVATE_KEY": str(ground / "own.key"), "EC2_USER": "123456789012"}
    arguments: tuple[str | Path, ...] = ("build", bench.kernel, "-t", "ami", "-o", f"{bench.out}/", *more)
    assert ended(bench.start(*arguments, env=keys))[0] == 0
    good = visible(bench.out)
    assert len(good) == 7
    for number in range(6):
        for path in bench.out.iterdir():
            path.unlink()
        process = bench.start(*arguments, env=keys)
        time.sleep(0.25 + number * 0.07)
        process.kill()
        process.wait()
        there = visible(bench.out)
        assert there == {name: good[name] for name in there}
        assert "app.manifest.xml" not in there or there == good
        code, said, words = ended(bench.start(*arguments, env=keys))
        assert (code, said) == (0, f"{bench.out}/app.manifest.xml\n"), words
        assert visible(bench.out) == good
        assert len(os.listdir(bench.out)) == len(good)


@pytest.mark.parametrize("what", ["bundle", "unbundle"])
@pytest.mark.parametrize("options", ["size=8k", "size=15m", "size=40m", "nr_inodes=2"])
def test_a_full_disk(bench: Bench, ground: Path, what: str, options: str) -> None:
    bench.out.mkdir()
    arguments = bundling(ground, bench.out) if what == "bundle" else unbundling(ground, bench.out / "back")
    script = (
        'mount -t tmpfs -o "$1" none "$2" || exit 77; out="$2"; shift 2; "$@"; code=$?; ls -A "$out"; exit $code'
    )
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    argv = ["unshare", *user, "--mount", "sh", "-c", script, "sh"]
    done = subprocess.run(
        [*argv, options, bench.out, IMAGEKIT, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    assert (done.returncode, done.stdout) == (75, ""), done.stderr
    assert f"the disk of {bench.out} is full" in done.stderr
    assert "Traceback" not in done.stderr
