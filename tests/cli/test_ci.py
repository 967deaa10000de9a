"""The examples for CI: they are what they claim to be, and their commands work, as far as they can here."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from imagekit.cli.app import app
from imagekit.command import run
from tests.cli.conftest import SCRIPT
from tests.conftest import ROOT

EXAMPLES = ROOT / "docs" / "examples"
GITHUB = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())
GITLAB = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())
_NOT_HERE = (
    "apt-get",
    "sudo",
    "pip",
    "python3 -m venv",
    "export",
    "imagekit publish",
    "imagekit doctor",
    "--prove",
    "proofs.json",
)


def lines_of(value: Any) -> Iterator[str]:  # noqa: ANN401 -- any YAML
    """Yield the lines of shell below `script`, `before_script` and `run`."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in {"script", "before_script", "run"}:
                yield from flat(inner)
            else:
                yield from lines_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from lines_of(inner)


def flat(script: Any) -> Iterator[str]:  # noqa: ANN401 -- a text, or a list of those and of lists
    if isinstance(script, str):
        yield from script.splitlines()
    else:
        for one in script:
            yield from flat(one)


LINES = [*lines_of(GITHUB), *lines_of(GITLAB)]


def test_they_have_what_their_systems_ask_for() -> None:
    assert GITHUB[True] == ["push"], "YAML 1.1 reads `on` as a truth"
    (job,) = GITHUB["jobs"].values()
    assert job["runs-on"]
    assert all(set(step) & {"uses", "run"} for step in job["steps"])
    stages = GITLAB["stages"]
    jobs = {name: job for name, job in GITLAB.items() if isinstance(job, dict) and "script" in job}
    assert set(jobs) == {"images", "boots", "amis"}
    assert all(job["stage"] in stages for job in jobs.values())
    assert len(LINES) > 20


@pytest.mark.parametrize("line", sorted({line for line in LINES if line.startswith("imagekit ")}))
def test_every_option_is_known(line: str) -> None:
    """As far as the command line reads them: nothing is run."""
    words = shlex.split(re.sub(r" 2?> ?\S+", "", line))[1:]
    command: Any = typer.main.get_command(app)
    with command.make_context("imagekit", words) as context:
        while hasattr(command, "commands"):
            name, command, words = command.resolve_command(context, words)
        with command.make_context(name, words, parent=context):
            pass


@pytest.mark.parametrize("example", [GITHUB, GITLAB], ids=["github", "gitlab"])
def test_their_commands_work(example: dict[str, Any], tmp_path: Path, kernels: Path) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (tmp_path / "app.xen").write_bytes((kernels / "hello.xen").read_bytes())
    (recipes / "app.toml").write_text('kernel = "../app.xen"\ntargets = ["xen", "ebs"]\n')
    places = {f"IMAGEKIT_{name}_DIR": str(tmp_path / ".imagekit" / name.lower()) for name in ("CACHE", "STATE")}
    env = {"PATH": f"{SCRIPT.parent}:/usr/bin:/bin:/usr/sbin:/sbin", **places}
    chosen = [line for line in lines_of(example) if not any(word in line for word in _NOT_HERE)]
    assert len(chosen) >= 4
    run("sh", "-euxc", "\n".join(chosen), cwd=tmp_path, env=env)
    assert "app" in (tmp_path / "out" / "report.html").read_text()
    assert {path.name for path in (tmp_path / "out").glob("app.*")} >= {"app.xen.raw", "app.ebs"}
