"""The documents: in step with the code, with no dead links, and every recipe in the folder works."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from imagekit.command import run
from imagekit.programs import find
from imagekit.verify import verify
from tests.conftest import ROOT, Make

# Those of whole systems need a tree first: tests/prove/test_systems.py makes one.
RECIPES = [
    path
    for path in sorted((ROOT / "recipes").glob("*.toml"))
    if "from" not in tomllib.loads(path.read_text()).get("root", {})
]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "recipes").rglob("*.md")])


def test_generated_pages_are_in_step() -> None:
    run(sys.executable, ROOT / "tools" / "reference", "--check", cwd=ROOT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_the_change_log_tells_of_every_command() -> None:
    reference = (ROOT / "docs" / "reference" / "cli.md").read_text()
    commands = re.findall(r"^### imagekit (\w+)", reference, re.MULTILINE)
    log = (ROOT / "CHANGELOG.md").read_text()
    assert [command for command in commands if command not in log] == []


# The others take root and minutes: tests/systems builds them.
@pytest.mark.parametrize(
    "recipe",
    [recipe for recipe in RECIPES if "diskimage-builder" not in recipe.read_text()],
    ids=lambda recipe: recipe.stem,
)
def test_every_recipe_builds_and_verifies(recipe: Path, make: Make, kernels: Path, tmp_path: Path) -> None:
    assert find("pygrub") is not None
    text = recipe.read_text().replace("../build/kernels", str(kernels))
    copy = tmp_path / recipe.name
    copy.write_text(text)
    (tmp_path / "site").symlink_to(ROOT / "recipes" / "site")
    linux = max(Path("/boot").glob("vmlinuz-*"), key=lambda path: path.stat().st_mtime)

    artifacts = make(copy, environment={"BUILD": "17", "LINUX": str(linux)})

    assert artifacts
    for artifact in artifacts:
        checks = list(verify(artifact.path))
        assert {"pygrub", "boot sector", "tar"} & {check.name for check in checks}, checks
        assert not [check for check in checks if check.verdict == "skipped"]
