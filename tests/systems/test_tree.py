"""Trees by a real diskimage-builder: made, cached, broken half-way, killed, and refused before anything starts."""

import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.build import Runner
from imagekit.command import run
from imagekit.errors import BuildError, ExitCode
from imagekit.events import Event, StepDone, StepPhase
from imagekit.plan import Step
from imagekit.prepare import Request, prepare
from imagekit.store import Store, Stored
from imagekit.systems import lacking
from imagekit.verify import verify
from tests.cli.conftest import SCRIPT, Cli, script
from tests.conftest import ROOT, Make

__all__ = ["script"]

pytestmark = [
    pytest.mark.xdist_group("systems"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can run diskimage-builder"),
]


@pytest.fixture
def recipe(tmp_path: Path, kernels: Path) -> Path:
    """Return a recipe for the tiny system and the element `mine` of this test, which has no hooks yet."""
    (tmp_path / "elements" / "mine").mkdir(parents=True)
    (tmp_path / "os.toml").write_text(
        f"""
        kernel = "{kernels}/hello.xen"
        [root]
        from = "diskimage-builder"
        [root.diskimage-builder]
        elements = ["tiny-system", "mine"]
        elements_path = ["elements"]
        environment = {{ DIB_WORD = "a word" }}
        [filesystem]
        type = "ext4"
        """
    )
    return tmp_path / "os.toml"


def hook(folder: Path, name: str, text: str) -> None:
    """Give the element `mine` a hook, `phase.d/name`."""
    path = folder / "elements" / "mine" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\nset -eu\n{text}\n")
    path.chmod(0o755)


def left(store: Store) -> list[str]:
    """Return what is left of runs: mounts, loop devices, work folders, processes."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    loops = run("losetup", "--list", "--noheadings", "--raw", "--output", "BACK-FILE").text().splitlines()
    commands = [
        path.read_bytes().decode(errors="replace").replace("\0", " ")
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.parent.name != str(os.getpid())
    ]
    found = [line for line in [*mounts, *loops, *commands] if str(store.root) in line]
    return [*found, *map(str, (store.root / "tmp").iterdir())]


def test_a_tree_is_made_once(recipe: Path, make: Make, store: Store, tmp_path: Path) -> None:
    told: list[Event] = []
    hook(
        tmp_path,
        "install.d/50-word",
        'echo "$DIB_WORD" >/etc/word; mkdir -p /var/log/apt; echo x >/var/log/dpkg.log',
    )
    hook(
        tmp_path,
        "finalise.d/50-traces",
        "mkdir -p /etc/dib-manifests; touch /etc/passwd-; echo 12 >/etc/machine-id",
    )

    (artifact,) = make(recipe, out=tmp_path / "os.raw", listener=told.append)

    assert {check.verdict for check in verify(artifact.path)} == {"ok"}
    phases = [event.phase for event in told if isinstance(event, StepPhase)]
    assert phases == ["root.d", "install.d", "image", "finalise.d", "cleanup.d"]
    log = Path(next(event.log for event in told if isinstance(event, StepPhase)))
    assert "Build completed successfully" in log.read_text()
    assert left(store) == []

    tree = next(path for path in (store.root / "blobs").iterdir() if holds(path, "./etc/word"))
    with tarfile.open(tree) as tar:
        names = set(tar.getnames())
        files = {name: tar.extractfile(f"./etc/{name}") for name in ("word", "fstab", "machine-id")}
        texts = {name: file.read().decode() for name, file in files.items() if file is not None}
    assert texts == {
        "word": "a word\n",
        "fstab": "LABEL=root / ext4 defaults 0 1\n",
        "machine-id": "uninitialized\n",
    }
    assert {"./proc", "./sys", "./dev"} <= names
    nodes = ["console", "full", "null", "ptmx", "random", "tty", "urandom", "zero"]
    assert sorted(name for name in names if name.startswith("./dev/")) == [f"./dev/{name}" for name in nodes]
    assert not names & {"./etc/dib-manifests", "./etc/passwd-", "./var/log/dpkg.log"}

    told.clear()
    make(recipe, out=tmp_path / "os.raw", listener=told.append)
    assert all(event.cached for event in told if isinstance(event, StepDone))

    hook(tmp_path, "install.d/50-word", "echo another >/etc/word")
    with store.in_use():
        runner = Runner(store)
        steps = {step.step: step for step in runner.look(prepare(Request([recipe]), runner, {}).plan)}
    assert not steps["diskimage-builder"].cached


def holds(path: Path, name: str) -> bool:
    """Tell whether a blob is a tar that holds a member of this name."""
    if not tarfile.is_tarfile(path):
        return False
    with tarfile.open(path) as tar:
        return name in tar.getnames()


def test_the_same_tree_twice(recipe: Path, tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        store = Store(tmp_path / name)
        with store.in_use():
            runner = Runner(store)
            plan = prepare(Request([recipe]), runner, {}).plan
            made = dict[Step, Stored]()
            for step in plan.steps():
                made[step], _ = runner.run(step, made, "os")
        digests.add(next(result.digest for step, result in made.items() if step.name == "disk"))
    assert len(digests) == 1


@pytest.mark.parametrize(
    "name, where",
    [("install.d/50-bad", "install.d/50-bad"), ("extra-data.d/50-bad", "extra-data.d/50-bad")],
)
def test_an_element_that_fails_half_way(
    name: str, where: str, recipe: Path, make: Make, store: Store, tmp_path: Path
) -> None:
    hook(tmp_path, name, "echo a wheel came off; mount -t tmpfs none /mnt || true; exit 7")
    before = Path("/proc/self/mountinfo").read_text()
    with pytest.raises(BuildError) as caught:
        make(recipe)
    assert caught.value.brief == f"the element mine failed: {where}"
    assert "a wheel came off" in caught.value.details
    log = Path(caught.value.hint.removeprefix("the whole log: "))
    assert "a wheel came off" in log.read_text()
    assert left(store) == []
    assert Path("/proc/self/mountinfo").read_text() == before


def test_the_machine_s_fstab_is_not_reached(recipe: Path, make: Make, store: Store, tmp_path: Path) -> None:
    fstab = Path("/etc/fstab")
    if not fstab.exists():
        pytest.skip("only root of a machine with an /etc/fstab can lose it")
    before = fstab.read_bytes()
    hook(tmp_path, "extra-data.d/50-fstab", "echo 'none /none tmpfs noauto 0 0' >>/etc/fstab; exit 1")
    with pytest.raises(BuildError, match="the element mine failed: extra-data"):
        make(recipe)
    assert fstab.read_bytes() == before
    assert left(store) == []


HANG = """
mount -t tmpfs none "$TMP_MOUNT_PATH/var"
truncate -s 1M "$TMP_BUILD_DIR/x.img"
losetup -f "$TMP_BUILD_DIR/x.img"
echo it hangs now
sleep 600
"""


@pytest.mark.parametrize("next_run", [("cache", "prune", "--older-than", "1d"), ("plan", "os.toml")], ids=" ".join)
def test_what_a_kill_leaves_goes_with_the_next_run(
    next_run: tuple[str, ...], recipe: Path, store: Store, script: Cli, tmp_path: Path
) -> None:
    hook(tmp_path, "extra-data.d/50-hang", HANG)
    with subprocess.Popen([SCRIPT, "build", recipe], cwd=tmp_path, stderr=subprocess.DEVNULL) as build:
        wait_for(lambda: any("it hangs now" in log.read_text() for log in (store.root / "logs").glob("*")), 60)
        build.send_signal(signal.SIGKILL)
    # The kernel ends the namespaces: processes, and mounts with them. What stays are files, and a device on one.
    wait_for(lambda: not [one for one in left(store) if not one.startswith((str(store.root), "/"))], 20)
    assert any("x.img" in one for one in left(store))
    said = script(*next_run)
    assert said.code == 0, said.err
    assert left(store) == []


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.05)


# Somebody without privileges, who may read this folder all the same.
NOBODY = ("unshare", "--user")


def test_root_is_asked_for_before_anything_starts(recipe: Path, script: Cli, tmp_path: Path) -> None:
    env = {"IMAGEKIT_CACHE_DIR": str(tmp_path / "nobody" / "cache"), "HOME": str(tmp_path / "nobody")}
    (tmp_path / "nobody").mkdir()
    said = script("build", recipe, "-o", tmp_path / "nobody" / "os.raw", env=env, before=NOBODY)
    assert (said.code, "it needs root" in said.err) == (ExitCode.TOOL, True), said.err
    assert not (tmp_path / "nobody" / "cache" / "logs").exists()
    said = script("plan", recipe, env=env, before=NOBODY)
    assert said.code == 0, said.err
    assert "os: diskimage-builder: it needs root" in said.err
    assert "never made" in said.out


def test_what_is_missing_is_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    told = "\n".join(lacking(["debootstrap", "cache-url"]))
    assert "disk-image-create is not installed: pip install 'imagekit[os]'" in told
    assert "sudo is not installed: sudo apt-get install sudo" in told
    assert "curl is not installed" in told


def test_a_plan_without_the_kernel(make: Make, script: Cli, recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(recipe.read_text().replace("kernel =", "# kernel ="))
    said = script("plan", "os.toml", "-t", "xen", "-t", "ebs")
    assert said.code == 0, said.err
    assert "the steps after diskimage-builder depend on the kernel" in said.err
    assert "os.xen.raw" in said.out
    assert "os.ebs" in said.out
    assert "all" in script("plan", "os.toml", "-t", "all").out
    with pytest.raises(Exception, match="the tree by diskimage-builder has no kernel in /boot"):
        make(tmp_path / "os.toml")


@pytest.mark.long
def test_debian(make: Make, store: Store, tmp_path: Path) -> None:
    artifacts = make(ROOT / "recipes" / "debian-pv.toml", out=f"{tmp_path}/out/")
    assert [artifact.target for artifact in artifacts] == ["xen", "ebs"]
    for artifact in artifacts:
        assert {check.verdict for check in verify(artifact.path)} == {"ok"}
    assert left(store) == []
