"""Same input, same bytes: whoever builds, wherever, whenever; every layout with every kind of file system."""

import hashlib
import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

IMAGEKIT = Path(sys.executable).with_name("imagekit")
LAYOUTS = ("plain", "mbr", "gpt")
TYPES = ("ext2", "ext3", "ext4", "fat16")
NOBODY = 65534

NOTHING: Mapping[str, str] = {}
LATER = {"SOURCE_DATE_EPOCH": "1000000000"}

Outputs = dict[str, str]


def recipe() -> str:
    """Return a recipe of twelve images, those on ext with links, too, an HVM disk, a system, and two for Qubes."""
    text = 'kernel = "hello.xen"\ncmdline = "a=b"\n'
    for layout in LAYOUTS:
        for kind in TYPES:
            folders = ["tree"] if kind == "fat16" else ["tree", "links"]
            files = ", ".join(f'{{from = "{folder}"}}' for folder in folders)
            text += f'[[image]]\nname = "{layout}-{kind}"\nroot.files = [{files}]\n'
            text += f'disk.layout = "{layout}"\nfilesystem.type = "{kind}"\n'
    text += '[[image]]\nname = "qube"\ntargets = ["qubes"]\n'
    text += (
        '[[image]]\nname = "template"\ntargets = ["qubes"]\nkernel = "hello-pvh.xen"\nqubes.format = "template"\n'
    )
    text += '[[image]]\nname = "hvm"\nkernel = "hello-pvh.xen"\nboot = "hvm"\n'
    return text + '[[image]]\nname = "system"\nroot.from = "system.tar"\nfilesystem.type = "ext4"\n'


def system() -> bytes:
    """Return a tar that is the same every time, of all that a system may have, in no order, at odd times."""
    kinds = {"bin/link": tarfile.SYMTYPE, "sbin/hard": tarfile.LNKTYPE, "dev/null": tarfile.CHRTYPE}
    kinds |= {"var/empty": tarfile.DIRTYPE, "run/pipe": tarfile.FIFOTYPE}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for number, name in enumerate(("usr/bin/tool", "home/own", *kinds, "etc/hostname")):
            info = tarfile.TarInfo(name)
            info.type, info.mode = kinds.get(name, tarfile.REGTYPE), 0o4750 + number
            info.uid, info.gid, info.mtime = 1000 + number, 100, 900_000_000 + number * 50_000_000
            info.linkname = "usr/bin/tool" if name in {"bin/link", "sbin/hard"} else ""
            info.devmajor, info.devminor = (1, 3) if info.ischr() else (0, 0)
            info.size = 5000 * number if info.isreg() else 0
            info.pax_headers = {"SCHILY.xattr.user.note": f"{number}"} if info.isreg() else {}
            tar.addfile(info, io.BytesIO(bytes([number]) * info.size))
    return out.getvalue()


def project(folder: Path, kernel: Path, *, seed: int = 0, mode: int = 0o777, when: float | None = None) -> Path:
    """Write the recipe and its files into a folder, in an order, under modes and at times of one's own."""
    contents = {f"sub{number % 3}/file-{number}": f"{number}\n" * 700 * number for number in range(12)}
    contents |= {"empty": "", "run": "#!/bin/sh\n"}
    order = sorted(contents)
    random.Random(seed).shuffle(order)  # noqa: S311 -- no secret
    for name in order:
        path = folder / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contents[name])
        path.chmod((0o755 if name == "run" else 0o644) & mode)
    (folder / "links").mkdir()
    (folder / "links" / "one").write_text("one file, two names")
    os.link(folder / "links" / "one", folder / "links" / "two")
    (folder / "links" / "soft").symlink_to("/run")
    (folder / "app.toml").write_text(recipe())
    (folder / "system.tar").write_bytes(system())
    for name in ("hello.xen", "hello-pvh.xen"):
        shutil.copyfile(kernel.with_name(name), folder / name)
    if when is not None:
        for path in [*folder.rglob("*")]:
            os.utime(path, (when, when), follow_symlinks=False)
    return folder


def built(
    folder: Path, environment: Mapping[str, str] = NOTHING, *, wrapper: tuple[str, ...] = (), umask: int = 0o022
) -> Outputs:
    """Build a project with a new cache; return the SHA-256 of everything that came out."""
    # Another user could not write the coverage data down.
    names = ("PATH",) if wrapper else ("PATH", "COVERAGE_PROCESS_CONFIG")
    inherited = {name: os.environ[name] for name in names if name in os.environ}
    own = {"IMAGEKIT_CACHE_DIR": str(folder / "cache"), "IMAGEKIT_STATE_DIR": str(folder / "state")}
    env = {**inherited, "HOME": str(folder), **own, **environment}
    argv = [*wrapper, str(IMAGEKIT), "build", "app.toml", "-o", "out/", "-q"]
    done = subprocess.run(argv, cwd=folder, env=env, umask=umask, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "out").iterdir()}


@pytest.fixture(scope="session")
def kernel(kernels: Path) -> Path:
    """Return the kernel of all builds."""
    return kernels / "hello.xen"


@pytest.fixture(scope="session")
def expected(kernel: Path, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """Return what all other builds must give."""
    found = built(project(tmp_path_factory.mktemp("expected"), kernel))
    assert len(found) == (len(LAYOUTS) * len(TYPES) + 2) * 5 + 2 * 3
    assert len({found[f"{layout}-{kind}.xen.raw"] for layout in LAYOUTS for kind in TYPES}) == 12
    return found


@pytest.fixture
def public() -> Iterator[Path]:
    """Return a new folder that any user may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_two_seconds_later_in_another_folder(kernel: Path, expected: Outputs, tmp_path: Path) -> None:
    time.sleep(2)  # FAT's clock ticks so slowly
    assert built(project(tmp_path / "somewhere else", kernel)) == expected


ENVIRONMENTS = {
    "zone": {"TZ": "Pacific/Kiritimati"},
    "language": {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "LANGUAGE": "tr"},
    "home": {"HOME": "/nonexistent", "TMPDIR": "/dev/shm"},  # noqa: S108 -- a place to write to
    "settings": {"MKE2FS_CONFIG": "/nonexistent", "MTOOLSRC": "/nonexistent", "MTOOLS_LOWER_CASE": "1"},
    "python": {"PYTHONHASHSEED": "12345", "PYTHONOPTIMIZE": "2"},
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_under_another_environment(kernel: Path, expected: Outputs, tmp_path: Path, name: str) -> None:
    assert built(project(tmp_path / "app", kernel), ENVIRONMENTS[name]) == expected


def test_under_another_umask(kernel: Path, expected: Outputs, tmp_path: Path) -> None:
    assert built(project(tmp_path / "app", kernel, mode=0o700), umask=0o077) == expected


@pytest.mark.parametrize("seed, when", [(1, None), (2, 1e9), (3, 4e9)])
def test_files_made_in_another_order_at_another_time(
    kernel: Path, expected: Outputs, tmp_path: Path, seed: int, when: float | None
) -> None:
    assert built(project(tmp_path / "app", kernel, seed=seed, when=when)) == expected


def test_on_another_file_system(kernel: Path, expected: Outputs, tmp_path: Path) -> None:
    memory = Path("/dev/shm")  # noqa: S108 -- another file system is the point
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no other file system here")
    with tempfile.TemporaryDirectory(dir=memory) as name:
        assert built(project(Path(name) / "app", kernel)) == expected


def test_as_another_user(kernel: Path, expected: Outputs, public: Path) -> None:
    wrapper = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    if subprocess.run([*wrapper, IMAGEKIT, "--version"], cwd="/", check=False, capture_output=True).returncode:
        pytest.skip("nobody cannot read this installation")
    folder = project(public / "app", kernel, mode=0o700)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    assert built(folder, wrapper=wrapper) == expected


def test_another_epoch_is_another_image(kernel: Path, expected: Outputs, tmp_path: Path) -> None:
    found = built(project(tmp_path / "app", kernel), LATER)
    same = {name for name in found if found[name] == expected[name]}
    assert same == {name for name in found if name.endswith((".cfg", ".xml"))}
    again = project(tmp_path / "again", kernel, when=2e9)
    assert built(again, LATER) == found


def test_hard_links_are_no_copies(kernel: Path, expected: Outputs, tmp_path: Path) -> None:
    """The cache knows the difference as well as the image does."""
    folder = project(tmp_path / "app", kernel)
    assert built(folder) == expected
    (folder / "links" / "two").unlink()
    (folder / "links" / "two").write_text("one file, two names")
    changed = built(folder)
    assert {name.partition(".")[0] for name in changed if changed[name] != expected[name]} == {
        f"{layout}-{kind}" for layout in LAYOUTS for kind in TYPES if kind != "fat16"
    }
    shutil.rmtree(folder / "cache")
    assert built(folder) == changed
