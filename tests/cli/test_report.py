"""`imagekit build --report --metrics` and `imagekit report`, as a user meets them."""

import json
import signal
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from imagekit.proof import Proof, keep
from imagekit.run import Run, latest, read
from tests.cli.conftest import SCRIPT, Cli

SECRET = "hunter2"  # noqa: S105 -- of nobody


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the records where the tests look for them."""
    monkeypatch.setenv("IMAGEKIT_STATE_DIR", str(tmp_path / "state"))


def last(folder: Path) -> Run:
    return read(latest(folder / "state"))


def test_a_run_leaves_a_record_and_a_page(cli: Cli, hello: Path, tmp_path: Path) -> None:
    done = cli("build", hello, "-t", "all", "-o", "out/", "--report", "run.json", "--metrics", "run.prom")
    assert done.code == 0
    run = read(tmp_path / "run.json")
    assert run == last(tmp_path)
    outcomes = {one.target: one.outcome for one in run.artifacts}
    assert outcomes["ebs"] == outcomes["xen"] == "made"
    assert outcomes["ami"] == "skipped"
    xen = next(one for one in run.artifacts if one.target == "xen")
    assert [Path(source.path).name for source in xen.sources] == [str(hello)]
    assert xen.kernel == "PV kernel, 64-bit ELF"
    assert xen.disk
    assert [span.label for span in xen.disk.spans if span.kind == "kernel"] == ["/boot/app.xen"]
    assert sum(span.length for span in xen.disk.spans) == xen.disk.size == xen.size
    assert {step.step for step in run.steps} >= {"root", "disk", "sidecar"}

    assert cli("report", "-o", "report.html").out == "report.html\n"
    page = (tmp_path / "report.html").read_text()
    assert cli("report", "run.json").out == page
    assert xen.digest in page
    assert "k-kernel" in page

    text = (tmp_path / "run.prom").read_text()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["imagekit_build_exit_code"].samples[0].value == 0


def test_a_record_without_report_is_completed_when_it_is_drawn(cli: Cli, hello: Path, tmp_path: Path) -> None:
    cli("build", hello, "-o", "app.raw")
    (kept,) = last(tmp_path).artifacts
    assert kept.disk is None
    fields = ("image", "target", "kernel", "loader", "lab", "verdict", "why", "started")
    texts = dict.fromkeys(fields, "x") | {"disk": kept.digest, "way": "pygrub", "console": "hello from app"}
    numbers = {"parts": {}, "versions": {}, "expected": {}, "seconds": {"guest": 1.0}, "memory": 1, "booted": True}
    keep(Proof(**{**texts, **numbers}), tmp_path / "state")  # type: ignore[arg-type]
    (drawn,) = Run.model_validate_json(cli("report", "--json").out).artifacts
    assert drawn.disk
    assert [boot.console for boot in drawn.boots] == ["hello from app"]
    cli("build", hello, "-o", "app.raw", "--cmdline", "other")
    (tmp_path / "app.raw").write_bytes(b"another thing")
    (tmp_path / "app.raw.imagekit.json").unlink()
    (gone,) = Run.model_validate_json(cli("report", "--json").out).artifacts
    assert gone.disk is None


def test_a_cached_run_says_so(cli: Cli, hello: Path, tmp_path: Path) -> None:
    for _ in range(2):
        cli("build", hello, "-o", "app.raw")
    run = last(tmp_path)
    assert [one.outcome for one in run.artifacts] == ["cached"]
    assert all(step.cached for step in run.steps)


def test_a_run_that_fails_is_recorded_too(cli: Cli, hello: Path, tmp_path: Path) -> None:
    done = cli("build", hello, "--set", "disk.size=1MiB", "--report", "run.json", "--metrics", "run.prom")
    run = read(tmp_path / "run.json")
    assert run.code == done.code != 0
    assert run.failure
    assert run.failure.brief in done.err
    assert f"imagekit_build_exit_code {done.code}\n" in (tmp_path / "run.prom").read_text()
    cli("report", "-o", "report.html")
    assert "The run failed:" in (tmp_path / "report.html").read_text()


def test_a_run_that_kept_going_tells_of_each(cli: Cli, hello: Path, tmp_path: Path) -> None:
    (tmp_path / "full.toml").write_text(f'kernel = "{hello}"\ndisk.size = "1MiB"\n')
    (tmp_path / "typo.toml").write_text('kernle = "app.xen"\n')
    done = cli("build", hello, "full.toml", "typo.toml", "--keep-going", "--metrics", "run.prom")
    run = last(tmp_path)
    assert run.code == done.code == 1
    told = {one.image: (one.outcome, one.failure and one.failure.code) for one in run.artifacts}
    assert told["app"] == ("made", None)
    assert told["full"] == ("failed", 1)
    assert told["typo.toml"] == ("failed", 2)
    assert 'imagekit_build_artifacts{outcome="failed"} 2.0' in (tmp_path / "run.prom").read_text()
    page = cli("report").out
    assert "1 made and 2 failed" in page
    assert "did you mean kernel?" in page


def test_no_value_of_a_setting_is_recorded(cli: Cli, hello: Path, tmp_path: Path) -> None:
    cli(
        "build",
        hello,
        "--cmdline",
        f"password={SECRET}",
        "-o",
        "app.raw",
        "--report",
        "run.json",
        "--metrics",
        "m",
    )
    assert last(tmp_path).settings == ("cmdline",)
    cli("report", "-o", "report.html")
    for path in (tmp_path / "run.json", tmp_path / "m", tmp_path / "report.html", latest(tmp_path / "state")):
        assert SECRET not in path.read_text()


def test_a_dry_run_leaves_no_record(cli: Cli, hello: Path, tmp_path: Path) -> None:
    assert cli("build", hello, "--dry-run").code == 0
    assert not (tmp_path / "state" / "runs").exists()


@pytest.mark.parametrize("option", ["--report", "--metrics"])
def test_a_place_that_cannot_be(cli: Cli, hello: Path, tmp_path: Path, option: str) -> None:
    done = cli("build", hello, "-o", "app.raw", option, "app.xen/file")
    assert done.code == 1
    assert "app.xen/file cannot be written" in done.err
    assert (tmp_path / "app.raw").exists()
    failed = cli("build", "none.xen", option, "app.xen/file")
    assert failed.code == 2, "the first error is the one that counts"
    assert "warning: app.xen/file cannot be written" in failed.err
    assert cli("report", "-o", "app.xen/file").code == 1


def test_no_room_for_records_stops_no_build(cli: Cli, hello: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file, where a folder should be")
    done = cli("build", hello, "-o", "app.raw")
    assert done.code == 0
    assert "warning: no record of this run is kept" in done.err


def test_nothing_to_draw(cli: Cli, tmp_path: Path) -> None:
    assert cli("report").code == 2
    (tmp_path / "run.json").write_text(json.dumps({"schema": "imagekit.run/1"}))
    assert "no record of a run" in cli("report", "run.json").err


def test_a_run_that_is_terminated_is_recorded(tmp_path: Path, hello: Path) -> None:
    (tmp_path / "big").mkdir()
    with (tmp_path / "big" / "file").open("wb") as file:
        file.write(b"x" * (200 << 20))
    (tmp_path / "app.toml").write_text(f'kernel = "{hello}"\nroot.files = [{{ from = "big", to = "/big" }}]\n')
    command = [str(SCRIPT), "build", "app.toml", "--progress", "json"]
    child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert child.stderr
    while "step-started" not in child.stderr.readline():
        pass
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=60)
    assert child.returncode == 143
    assert last(tmp_path).code == 143
