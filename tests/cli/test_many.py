"""Many images at once: one plan, failures collected, the summary, the exit codes; SIGTERM lets what runs end."""

import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import jsonschema
import pytest

from tests.cli.conftest import Cli
from tests.faults.conftest import Bench, ended, gone
from tests.faults.conftest import bench as bench  # noqa: PLC0414 -- a fixture


@pytest.fixture
def recipes(hello: Path, tmp_path: Path) -> Path:
    """Three good recipes, one that cannot be read, one with a wrong key, and a file that is no kernel."""
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.toml").write_text(f'kernel = "{hello}"\n')
    (tmp_path / "gone.toml").write_text('kernel = "gone.xen"\n')
    (tmp_path / "typo.toml").write_text(f'kernal = "{hello}"\n')
    (tmp_path / "text.xen").write_text("no kernel at all")
    return tmp_path


PROCESSES = ("--workers", "processes")
GOOD = ("a.toml", "b.toml", "c.toml")


def test_without_keep_going_the_first_failure_ends_it(cli: Cli, recipes: Path) -> None:
    said = cli("build", *GOOD, "typo.toml", "-o", "out/")
    assert (said.code, said.out) == (2, "")
    assert not (recipes / "out").exists()


@pytest.mark.usefixtures("recipes")
def test_the_rest_is_built(cli: Cli) -> None:
    said = cli("build", "typo.toml", "a.toml", "text.xen", "b.toml", "gone.toml", "-o", "out/", "-k", "--json")
    found = json.loads(said.out)
    assert [Path(one["path"]).name for one in found["artifacts"]] == ["a.xen.raw", "b.xen.raw"]
    assert [(one["image"], one["target"], one["exit_code"], one["error"]) for one in found["failures"]] == [
        ("typo.toml", "", 2, "RecipeError"),
        ("gone.toml", "", 2, "RecipeError"),
        ("text", "", 3, "KernelError"),
    ]
    assert found["missing"] == []
    assert said.code == 1, "2 and 3 do not agree"
    assert "did you mean kernel?" in said.err
    assert "hint: give an ELF file" in said.err
    assert said.err.endswith("2 made, 3 failed\n")


@pytest.mark.parametrize(
    "wrong, code", [(["typo.toml", "gone.toml"], 2), (["text.xen"], 3), (["typo.toml", "text.xen"], 1), ([], 0)]
)
def test_exit_codes(cli: Cli, recipes: Path, wrong: list[str], code: int) -> None:
    said = cli("build", "a.toml", *wrong, "-o", "out/", "--keep-going", "-q")
    assert (said.code, said.out) == (code, "out/a.xen.raw\n")
    assert (recipes / "out" / "a.xen.raw").exists()


def test_a_refused_target_and_two_of_a_name(cli: Cli, recipes: Path, kernels: Path) -> None:
    pvh = kernels / "broken" / "pvh-only.xen"
    (recipes / "a").mkdir()
    (recipes / "a" / "a.toml").write_text(f'kernel = "{pvh}"\n')
    (recipes / "pvh.toml").write_text(f'kernel = "{pvh}"\n')
    said = cli("build", "a.toml", "a/a.toml", "pvh.toml", "-t", "xen", "-t", "ebs", "-o", "out/", "-k", "--json")
    found = json.loads(said.out)
    assert [(one["image"], one["target"], one["exit_code"]) for one in found["failures"]] == [
        ("a/a.toml", "", 2),
        ("pvh", "ebs", 3),
    ]
    assert [(one["image"], one["target"]) for one in found["artifacts"]] == [
        ("a", "xen"),
        ("a", "ebs"),
        ("pvh", "xen"),
    ]


def test_a_failing_step_fails_what_reads_it(cli: Cli, recipes: Path) -> None:
    """The file system is too small for the kernel: the disk and all that is made of it fail, the rest does not."""
    (recipes / "small.toml").write_text((recipes / "a.toml").read_text() + 'filesystem.size = "16KiB"\n')
    said = cli("build", "small.toml", "b.toml", "-t", "xen", "-t", "xcp", "-o", "out/", "-k", "--json")
    found = json.loads(said.out)
    assert {(one["image"], one["target"]) for one in found["failures"]} == {("small", "xen"), ("small", "xcp")}
    assert len(found["artifacts"]) == 2
    assert said.code == found["failures"][0]["exit_code"]
    assert not list((recipes / "out").glob("small*"))


@pytest.mark.usefixtures("recipes")
def test_shared_steps_are_made_once(cli: Cli) -> None:
    said = cli("build", *GOOD, "-t", "all", "-o", "out/", "-j", "2", "--progress", "json")
    events = [json.loads(line) for line in said.err.splitlines() if line.startswith("{")]
    done = [(one["image"], one["step"]) for one in events if one["event"] == "step-done"]
    roots = [image for image, step in done if step == "root"]
    assert sorted(roots) == ["a", "b", "c"]


@pytest.mark.usefixtures("recipes")
def test_events_of_failures(cli: Cli) -> None:
    said = cli("build", "typo.toml", "a.toml", "-o", "out/", "-k", "--progress", "json")
    events = [json.loads(line) for line in said.err.splitlines() if line.startswith("{")]
    (failed,) = [one for one in events if one["event"] == "image-failed"]
    assert failed["image"] == "typo.toml"
    assert failed["exit_code"] == 2
    done = [one for one in events if one["event"] == "step-done"]
    assert all(one["machine"].endswith(f":{os.getpid()}") and one["begun"] > 1e9 for one in done)


def many(bench: Bench, count: int) -> list[str]:
    """Return kernels that are not the same."""
    kernel = bench.kernel.read_bytes()
    names = []
    for number in range(count):
        path = bench.folder / f"k{number}.xen"
        path.write_bytes(kernel.replace(b"powering off", f"powering {number:3}".encode()))
        names.append(str(path))
    return names


def both(bench: Bench, environment: dict[str, str]) -> list[int]:
    """Wait until a tool has stopped twice; return the processes, whose words may come in one."""
    reached, pids = Path(environment["PATH"].partition(":")[0]) / "reached", list[int]()
    while len(pids) < 2:
        pids += map(int, reached.read_text().split())
    bench.stopped += pids
    return pids


def let_go(children: list[int], environment: dict[str, str]) -> None:
    """Let stopped tools go on; one word may reach both, or none who listens."""
    go = Path(environment["PATH"].partition(":")[0]) / "go"
    while not all(gone(child, 0.05) for child in children):
        with suppress(OSError):
            descriptor = os.open(go, os.O_WRONLY | os.O_NONBLOCK)
            os.write(descriptor, b"go\n")
            os.close(descriptor)


@pytest.mark.parametrize("how", ["threads", "processes"])
def test_sigterm_lets_what_runs_end(bench: Bench, how: str) -> None:
    """Two tools run; what they make is kept, what is whole is placed, and what is missing is named."""
    count, more = (3, ["--keep-going"]) if how == "threads" else (3, ["--workers", "processes"])
    kernels = many(bench, count)
    assert ended(bench.start("build", kernels[0], "-o", f"{bench.folder}/first/"))[0] == 0
    arguments = ("build", *kernels, "-o", f"{bench.out}/", "-j", "2", *more, "--progress", "json")
    environment = bench.stopping("mke2fs", "before")
    process = bench.start(*arguments, env=environment)
    children = both(bench, environment)
    process.send_signal(signal.SIGTERM)
    assert not gone(children[0], 1), "it is not killed"
    let_go(children, environment)
    stdout, words = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (143, f"{bench.out}/k0.xen.raw\n")
    assert "k0.xen.raw" in bench.files()
    assert {name.partition(".")[0] for name in bench.files()} == {"k0"}
    last = json.loads(words.splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("run-failed", 143)
    assert last["brief"] == f"terminated, {count - 1} artifacts are not made"
    named = [line.split()[2] for line in last["details"].splitlines()]
    assert named == [f"k{number}" for number in range(1, count)]
    assert last["hint"] == "the same command goes on from there"
    assert all(map(gone, children))
    assert bench.left() == []
    again = bench.start(*arguments)
    _, events = again.communicate()
    assert again.returncode == 0
    disks = [one for one in map(json.loads, filter(_is_event, events.splitlines())) if one.get("step") == "disk"]
    assert sum(one["cached"] for one in disks if one["event"] == "step-done") == 3, "the first, and the two"


def _is_event(line: str) -> bool:
    return line.startswith("{")


def test_a_second_sigterm_ends_at_once(bench: Bench) -> None:
    environment = bench.stopping("mke2fs", "before")
    process = bench.start("build", *many(bench, 3), "-o", f"{bench.out}/", "-j", "2", *PROCESSES, env=environment)
    children = both(bench, environment)
    process.send_signal(signal.SIGTERM)
    assert not gone(children[0], 1)
    process.send_signal(signal.SIGTERM)
    code, stdout, words = ended(process)
    assert (code, stdout, words.splitlines()[-1]) == (143, "", "error: terminated")
    assert all(map(gone, children))
    assert (bench.files(), bench.left()) == ({}, [])


def test_ctrl_c_ends_workers_at_once(bench: Bench) -> None:
    environment = bench.stopping("mke2fs", "before")
    process = bench.start("build", *many(bench, 3), "-o", f"{bench.out}/", "-j", "2", *PROCESSES, env=environment)
    children = both(bench, environment)
    os.killpg(process.pid, signal.SIGINT)
    code, stdout, words = ended(process)
    assert (code, stdout, words.splitlines()[-1]) == (130, "", "error: interrupted")
    assert all(map(gone, children))
    assert (bench.files(), bench.left()) == ({}, [])


def test_what_ends_it_all_is_an_event_too(cli: Cli, kernels: Path) -> None:
    said = cli("build", kernels / "hello-pvh.xen", "--target", "rackspace", "--progress", "json")
    (line,) = said.err.splitlines()
    told = json.loads(line)
    assert (said.code, told["event"], told["exit_code"]) == (3, "run-failed", 3)
    assert "cannot boot on rackspace" in told["brief"]
    jsonschema.validate(told, json.loads(cli("schema", "events").out))
