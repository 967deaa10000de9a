"""The wheel: what it holds, and that a stranger's plain `pip install` of it works without any extra."""

import sys
import venv
import zipfile
from pathlib import Path

import pytest

from imagekit.command import run
from tests.conftest import ROOT

pytestmark = pytest.mark.xdist_group("package")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "imagekit").rglob("*.py")}
    data = {
        "imagekit/py.typed",
        "imagekit/filesystem/mke2fs.conf",
        "imagekit/recipe/schema.json",
        "imagekit/run/run.json",
        "imagekit/run/events.json",
        "imagekit/report/report.css",
        "imagekit/report/report.js",
    }
    pages = {f"imagekit/inspect/{path.name}" for path in (ROOT / "imagekit" / "inspect").glob("page.*")}
    package = {name for name in names if not name.startswith("imagekit-0.1.0.")}
    dom0 = {str(path.relative_to(ROOT)) for path in (ROOT / "imagekit" / "prove" / "lab" / "dom0").iterdir()}
    shipped = ROOT / "imagekit" / "systems" / "elements"
    elements = {str(path.relative_to(ROOT)): path for path in shipped.rglob("*") if path.is_file()}
    assert package == sources | data | pages | dom0 | set(elements)
    with zipfile.ZipFile(wheel) as archive:
        for name, path in elements.items():  # diskimage-builder runs only what is executable
            assert bool(archive.getinfo(name).external_attr >> 16 & 0o100) == bool(path.stat().st_mode & 0o100), (
                name
            )
    assert "imagekit-0.1.0.data/data/share/man/man1/imagekit.1" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_installed_wheel_builds_without_any_extra(wheel: Path, tmp_path: Path, kernels: Path) -> None:
    place = tmp_path / "venv"
    venv.create(place, with_pip=True)
    python = str(place / "bin" / "python")
    constraints = tmp_path / "constraints.txt"
    pins = [line.split()[0] for line in (ROOT / "lock" / "ci.txt").read_text().splitlines() if "==" in line[:80]]
    constraints.write_text("\n".join(pin for pin in pins if "==" in pin) + "\n")
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", constraints, wheel)

    imagekit = str(place / "bin" / "imagekit")
    assert "build" in run(imagekit, "--help", cwd=tmp_path).text()
    out = tmp_path / "hello.raw"
    env = {"IMAGEKIT_CACHE_DIR": str(tmp_path / "cache")}
    done = run(imagekit, "build", kernels / "hello.xen", "-o", out, cwd=tmp_path, env=env)
    assert done.text() == f"{out}\n"
    assert out.with_name("hello.raw.cfg").exists()

    mbr = ("--layout", "mbr", "-o", out)
    refused = run(imagekit, "build", kernels / "hello.xen", *mbr, cwd=tmp_path, env=env, ok=(4,))
    assert b"imagekit[disk]" in refused.stderr


def test_the_core_imports_no_extra() -> None:
    script = "import sys, imagekit.cli.app, imagekit.prepare; print(*sorted(sys.modules))"
    modules = set(run(sys.executable, "-c", script).text().split())
    assert not modules & {"parted", "boto3", "tree_sitter", "rich", "guestfs"}
