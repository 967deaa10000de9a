"""`imagekit build` and `imagekit plan`: what lands where, what is said where, and the exit codes."""

import fcntl
import json
import os
import re
from pathlib import Path

import pytest

from imagekit.command import run
from imagekit.programs import find
from tests.cli.conftest import Cli

COMPANIONS = ("", ".cfg", ".imagekit.json", ".xm.cfg", ".xml")


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def recipe(hello: Path, tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("hello")
    (tmp_path / "two.toml").write_text(
        f'kernel = "{hello}"\n[[image]]\nname = "one"\n'
        '[[image]]\nname = "two"\nroot.files = [{ from = "site" }]\n'
    )
    return Path("two.toml")


def test_a_kernel_to_a_file(script: Cli, hello: Path, tmp_path: Path) -> None:
    said = script("build", hello, "-o", "out/my.raw")
    assert (said.code, said.out) == (0, "out/my.raw\n")
    assert files(tmp_path / "out") == {f"my.raw{suffix}" for suffix in COMPANIONS}
    assert "app: disk: made in" in said.err
    run("e2fsck", "-f", "-n", tmp_path / "out" / "my.raw")
    again = script("build", hello, "-o", "out/my.raw")
    assert "app: disk: cached" in again.err
    assert again.err.splitlines()[-1].split()[-1] == "cached"


def test_a_kernel_to_a_folder_and_to_here(cli: Cli, hello: Path, tmp_path: Path) -> None:
    assert cli("build", hello, "-t", "ebs", "-t", "xen", "-o", "out/").out == "out/app.ebs\nout/app.xen.raw\n"
    assert cli("build", hello).out == "app.xen.raw\n"
    (tmp_path / "there").mkdir()
    assert cli("build", hello, "-o", "there").out == "there/app.xen.raw\n"
    assert cli("build", hello, "-o", tmp_path / "there" / "x.ebs", "-t", "ebs").out == f"{tmp_path}/there/x.ebs\n"


def test_several_artifacts_and_one_file(cli: Cli, recipe: Path, hello: Path, tmp_path: Path) -> None:
    for arguments in ((recipe,), (hello, "-t", "xen", "-t", "ebs"), (hello, "-t", "all")):
        said = cli("build", *arguments, "-o", "one.raw")
        assert (said.code, said.out) == (2, "")
        assert "error: -o one.raw names one file, and " in said.err
        assert said.err.endswith(" artifacts are to be made\nhint: -o one.raw/ puts them into a folder\n")
    assert not (tmp_path / "one.raw").exists()


def test_a_recipe_of_two_images(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    said = cli("build", recipe, "-o", "out/", "-j", "1")
    assert (said.code, said.out) == (0, "out/one.xen.raw\nout/two.xen.raw\n")
    listed = run("debugfs", "-R", "cat /index.html", tmp_path / "out" / "two.xen.raw").stdout
    assert listed == b"hello"
    twice = cli("build", recipe, "two.toml", "-o", "out/")
    assert twice.code == 2
    assert "error: two images are named 'one'\n" in twice.err


def test_all_targets_that_can_be(cli: Cli, hello: Path, kernels: Path) -> None:
    said = cli("build", hello, "-t", "all", "-o", "out/")
    assert (said.code, said.out) == (
        0,
        "out/app.ebs\nout/app.openstack.tgz\nout/app.qubes.tar\nout/app.rackspace.vhd\nout/app.xcp.vhd\nout/app.xen.raw\n",
    )
    said = cli("build", kernels / "hello-pvh.xen", "-t", "all", "-o", "out/", "--json")
    found = json.loads(said.out)
    assert [artifact["target"] for artifact in found["artifacts"]] == ["ebs", "qubes", "xcp", "xen"]
    assert [skipped["target"] for skipped in found["skipped"]] == ["ami", "openstack", "rackspace"]
    assert "hello-pvh: not for ami: " in said.err
    assert "hello-pvh for ebs: boots as HVM, by GRUB in its boot sector, since it has no entry for PV" in said.err


def test_json(cli: Cli, hello: Path, tmp_path: Path) -> None:
    said = cli("build", hello, "-t", "ebs", "-o", "x.ebs", "--json")
    (artifact,) = json.loads(said.out)["artifacts"]
    assert artifact["path"] == "x.ebs"
    assert artifact["companions"] == ["x.ebs.imagekit.json"]
    assert (artifact["image"], artifact["target"], artifact["size"], artifact["cached"]) == (
        "app",
        "ebs",
        1 << 30,
        False,
    )
    assert 0 < artifact["on_disk"] < 1 << 20
    assert json.loads((tmp_path / "x.ebs.imagekit.json").read_bytes())["digest"] == artifact["digest"]
    assert json.loads(said.out)["skipped"] == []


@pytest.mark.parametrize(
    "options, lines", [(("--progress", "none"), 2), (("-q",), 0), (("--quiet", "--progress=plain"), 0)]
)
def test_less_is_said(options: tuple[str, ...], lines: int, cli: Cli, hello: Path) -> None:
    said = cli("build", hello, *options)
    assert (said.code, said.out) == (0, "app.xen.raw\n")
    assert len(said.err.splitlines()) == lines


def test_plain_progress_and_reasons(cli: Cli, hello: Path) -> None:
    said = cli("build", hello, "--progress", "plain")
    assert "app: disk: made in" in said.err
    assert "never made" not in said.err
    said = cli("build", hello, "-v", "--set", "memory='32MiB'", "--cmdline", "changed")
    assert "app: disk: never made with these inputs and settings" in said.err


def test_progress_as_json_lines(cli: Cli, hello: Path) -> None:
    said = cli("build", hello, "--progress", "json")
    events = [json.loads(line) for line in said.err.splitlines()]
    assert {event["event"] for event in events} == {"step-started", "step-done", "placed"}
    assert events[-1] == {**events[-1], "event": "placed", "path": "app.xen.raw", "cached": False}
    assert {event["step"] for event in events if event["event"] == "step-done"} >= {"root", "disk", "sidecar"}
    assert said.out == "app.xen.raw\n"


def test_flags_are_short_for_keys(cli: Cli, hello: Path, tmp_path: Path) -> None:
    flags = ("--cmdline", "a=1", "--memory", "32MiB", "--layout", "gpt", "--size", "20MiB", "--boot", "pv")
    sets = ("--set", "filesystem.type=ext4", "--set", "vcpus=2", "--set", "filesystem.label=hi")
    assert cli("build", hello, *flags, *sets, "-o", "x.raw").code == 0
    assert (tmp_path / "x.raw").stat().st_size == 20 << 20
    sidecar = json.loads((tmp_path / "x.raw.imagekit.json").read_bytes())
    assert sidecar["boot"] == {**sidecar["boot"], "cmdline": "a=1", "memory": 32 << 20, "vcpus": 2, "guest": "pv"}
    assert sidecar["layout"]["disk"] == "gpt"
    assert sidecar["layout"]["filesystem"] == {**sidecar["layout"]["filesystem"], "type": "ext4", "label": "hi"}


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("build",), "Missing argument"),
        (("plan",), "Missing argument"),
        (("build", "app.xen", "--nonsense"), "No such option"),
        (("build", "app.xen", "--progress", "loud"), "Invalid value"),
        (("build", "app.xen", "-j", "0"), "Invalid value"),
        (("nonsense",), "No such command"),
        (("cache", "nonsense"), "No such command"),
        (
            ("build", "app.xen", "-t", "nowhere"),
            "no target is named 'nowhere'\nhint: one of ami, ebs, openstack, qubes, rackspace, xcp, xen, or all\n",
        ),
        (
            ("build", "app.xen", "--set", "memory"),
            "error: --set wants key=value, not 'memory'\nhint: --set filesystem",
        ),
        (
            ("build", "app.xen", "--set", "memry=1"),
            "error: the command line: memry: no such key (did you mean memory?)",
        ),
        (("build", "app.xen", "--memory", "lots"), "error: the command line: memory: a size is a number"),
        (
            ("build", "app.xen", "--memory", "64"),
            "a guest takes 4 MiB at least, and a number without a unit is bytes (is '64')\nhint: \"64MiB\"\n",
        ),
        (
            ("build", "app.xen", "--memory", "900KiB"),
            "a number without a unit is bytes (is '900KiB')\nhint: \"64MiB\"\n",
        ),
        (
            ("plan", "app.xen", "--layout", "mbr", "--size", "3TiB"),
            'an MBR holds 2 TiB at most\ndisk.size is 3298534883328 bytes\nhint: disk.layout = "gpt" holds more\n',
        ),
        (
            ("plan", "app.xen", "--boot", "hvm", "--layout", "mbr", "--size", "3TiB"),
            "an MBR holds 2 TiB at most\ndisk.size is 3298534883328 bytes\nhint: a BIOS boots no larger disk\n",
        ),
        (
            ("plan", "app.xen", "--layout", "mbr", "--set", "filesystem.size=2TiB"),
            "error: the command line: filesystem.size: an MBR holds 2 TiB at most\n",
        ),
        (("build", "app.xen", "--layout", "lvm"), "error: the command line: disk.layout: input should be 'auto'"),
        (("build", "none.toml"), "error: none.toml cannot be read\nNo such file or directory\n"),
        (("build", "none.xen"), "none.xen cannot be read\nNo such file or directory\n"),
        (("build", "bad.toml"), "error: bad.toml:2: kernal: no such key (did you mean kernel?)\n"),
        (("build", "app.xen", "--set", "root.files=[{from='none'}]"), "none cannot be read\nNo such file"),
        (("build", "app.xen", "--cmdline", "a\nb"), "error: a boot menu is made of lines"),
        (
            ("build", "app.xen", "-o", "x.raw", "--set", "name='../x'"),
            "error: the command line: name: string should",
        ),
        (("cache", "prune"), "error: say what to remove\nhint: --keep 1GiB, --older-than 7d or --all\n"),
        (("cache", "prune", "--keep", "much"), "error: --keep much: a size is"),
        (
            ("cache", "prune", "--older-than", "7"),
            "error: --older-than 7: no age\nhint: a number and s, m, h, d or w: 7d\n",
        ),
        (("cache", "prune", "--older-than", "9999999w"), "error: --older-than 9999999w: before 1970\n"),
    ],
)
def test_usage_that_cannot_be_meant(
    arguments: tuple[str, ...], words: str, cli: Cli, hello: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.toml").write_text("\nkernal = 1\n")
    said = cli(*arguments)
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert "Traceback" not in said.err
    assert files(tmp_path) <= {hello.name, "bad.toml", "cache"}


def test_source_date_epoch_nonsense(cli: Cli, hello: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert cli("build", hello).code == 2
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    assert cli("build", hello, "-q").code == 0
    assert b"mtime: 0x3b9aca00" in run("debugfs", "-R", "stat /boot/app.xen", "app.xen.raw").stdout


@pytest.mark.parametrize(
    "kernel, arguments",
    [("no-notes.xen", ()), ("truncated.xen", ()), ("wrong-machine.xen", ()), ("pvh-only.xen", ("-t", "ebs"))],
)
def test_kernels_that_cannot_boot(kernel: str, arguments: tuple[str, ...], cli: Cli, kernels: Path) -> None:
    said = cli("build", kernels / "broken" / kernel, *arguments)
    assert (said.code, said.out) == (3, "")
    first, *others = said.err[said.err.index("error: ") :].splitlines()
    assert kernel in first
    assert len(others) <= 3


def test_a_build_that_fails(cli: Cli, hello: Path, tmp_path: Path) -> None:
    said = cli("build", hello, "--size", "1MiB")
    assert said.code == 1
    assert "error: the tree needs a file system of 2 MiB and a disk of 2 MiB\n" in said.err
    assert "\nhint: leave disk.size" in said.err
    assert files(tmp_path) == {hello.name, "cache"}


def test_a_size_below_a_mib(cli: Cli, hello: Path) -> None:
    said = cli("build", hello, "--size", "100KiB")
    assert said.code == 1
    assert "\nthe disk has 100 KiB, the file system gets nothing\n" in said.err
    assert "0 MiB" not in said.err


def test_a_tool_that_fails(cli: Cli, hello: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mke2fs").write_text("#!/bin/sh\necho 1.99 broken >&2\nexit 7\n")
    (tmp_path / "bin" / "mke2fs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    from imagekit.command import version  # noqa: PLC0415 -- it is asked once a process

    version.cache_clear()
    said = cli("build", hello)
    version.cache_clear()
    assert said.code == 4
    assert "error: mke2fs failed (exit status 7)\n" in said.err
    assert "1.99 broken\n" in said.err


def test_a_tool_that_is_missing(script: Cli, hello: Path) -> None:
    """It is taken away in a mount namespace of our own: mke2fs is looked for outside of PATH, too."""
    tool = os.path.realpath(find("mke2fs") or "")
    hidden = ("unshare", "-rm", "sh", "-c", f'mount --bind /dev/null {tool} && exec "$@"', "sh")
    if run("unshare", "-rm", "mount", "--bind", "/dev/null", tool, ok=range(256)).status != 0:
        pytest.skip("this machine lets nobody make namespaces")
    said = script("build", hello, before=hidden)
    assert said.code == 4
    assert "error: mke2fs is not installed\nhint: sudo apt-get install e2fsprogs\n" in said.err


def test_places_that_cannot_be_written(cli: Cli, hello: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = cli("build", hello, "-o", "file/x.raw")
    assert said.code == 1
    assert re.search("^error: file/x.raw.* cannot be written$", said.err, re.MULTILINE)
    (tmp_path / "folder.raw.xml").mkdir()
    said = cli("build", hello, "-o", "folder.raw")
    assert said.code == 2
    assert "error: folder.raw.xml is a folder" in said.err
    said = cli("build", hello, "-o", "x.raw", "--depfile", "file/x.d")
    assert said.code == 1
    assert "error: file/x.d cannot be written" in said.err


def test_tracebacks_only_on_demand(cli: Cli, hello: Path) -> None:
    for arguments, shown in (((), False), (("-v",), False), (("-vv",), True), (("-v", "-v"), True)):
        said = cli("build", hello, "--size", "1MiB", *arguments)
        assert said.code == 1
        assert ("Traceback" in said.err) == shown


def test_a_fault_of_ours_is_told_as_one(cli: Cli, hello: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise KeyError("missing")

    monkeypatch.setattr("imagekit.prepare.prepare", missing)
    said = cli("build", hello)
    assert (said.code, said.out) == (1, "")
    assert said.err == (
        "error: imagekit has a fault: KeyError: 'missing'\nhint: -vv shows where; please report it\n"
    )
    assert "Traceback" in cli("build", hello, "-vv").err


def test_dry_run_and_plan_make_nothing(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    before = files(tmp_path)
    planned = cli("plan", recipe, "-o", "out/")
    assert planned.code == 0
    assert cli("build", recipe, "-o", "out/", "--dry-run").out == planned.out
    assert cli("build", recipe, "-o", "out/", "-n").err == ""
    assert files(tmp_path) == before | {"cache"}
    rows = [line.split(maxsplit=4) for line in planned.out.splitlines()]
    assert ["one", "root", "xen", "run", "never made with these inputs and settings"] in rows
    assert ["one", "disk", "xen", "run", "root will be made"] in rows
    assert ["two", "xen", "out/two.xen.raw"] in rows
    assert (
        not any((tmp_path / "cache" / "results").iterdir())
        or len(list((tmp_path / "cache" / "blobs").iterdir())) <= 2
    )

    cli("build", recipe, "-o", "out/", "-q")
    rows = [line.split(maxsplit=4) for line in cli("plan", recipe).out.splitlines()]
    assert {tuple(row[2:]) for row in rows[1:] if len(row) == 5} == {("xen", "cached", "cached")}
    (tmp_path / "site" / "index.html").write_text("other")
    reasons = {
        tuple(row[:2]): row[3:]
        for row in (line.split(maxsplit=4) for line in cli("plan", recipe).out.splitlines())
        if row
    }
    assert reasons["one", "disk"][0] == "cached"
    assert reasons["two", "root"] == ["run", "never made with these inputs and settings"]


def test_a_plan_tells_which_target_a_step_is_for(cli: Cli, hello: Path) -> None:
    said = cli("plan", hello, "-t", "xen", "-t", "ebs", "-o", "out/")
    steps = [tuple(line.split(maxsplit=4)[1:3]) for line in said.out.splitlines() if " run " in line]
    assert {("root", "xen,ebs"), ("disk", "xen"), ("disk", "ebs"), ("sidecar", "xen"), ("sidecar", "ebs")} <= set(
        steps
    )
    assert len(steps) == len(set(steps))
    found = json.loads(cli("plan", hello, "-t", "xen", "-t", "ebs", "-o", "out/", "--json").out)
    assert ("root", ["xen", "ebs"]) in [(step["step"], step["targets"]) for step in found["steps"]]


def test_all_targets_but_those_that_cannot_have_the_settings(cli: Cli, hello: Path) -> None:
    said = cli("build", hello, "-t", "all", "-o", "out/", "--set", "filesystem.type=fat16")
    assert (said.code, said.out) == (
        0,
        "out/app.openstack.tgz\nout/app.rackspace.vhd\nout/app.xcp.vhd\nout/app.xen.raw\n",
    )
    assert "app: not for ebs: Amazon's PV-GRUB reads no FAT\n" in said.err
    assert "app: not for qubes: a kernel for Qubes' dom0 has no disk, and no filesystem.type\n" in said.err
    assert cli("build", hello, "-t", "ebs", "-o", "out/", "--set", "filesystem.type=fat16").code == 2


def test_the_configuration_names_what_the_user_copies(cli: Cli, hello: Path, tmp_path: Path) -> None:
    """The default name, wherever it is made: the same bytes."""
    said = cli("build", hello, "-o", "out/")
    name = Path(said.out.strip()).name
    assert f"target=/var/lib/xen/images/{name}" in (tmp_path / "out" / f"{name}.cfg").read_text()
    cli("build", hello, "-o", "other.img")
    assert (tmp_path / "other.img.cfg").read_bytes() == (tmp_path / "out" / f"{name}.cfg").read_bytes()


def test_a_plan_as_json(cli: Cli, hello: Path, tmp_path: Path) -> None:
    cli("build", hello, "-q")
    found = json.loads(cli("plan", hello, "-t", "ebs", "--json").out)
    steps = {step["step"]: step for step in found["steps"]}
    assert (steps["root"]["cached"], steps["root"]["reason"]) == (True, "cached")
    assert steps["disk"]["cached"] is False
    assert len(steps["root"]["key"]) == 64
    assert found["artifacts"] == [{"image": "app", "target": "ebs", "path": "app.ebs"}]
    assert json.loads(cli("build", hello, "-t", "ebs", "-n", "--json").out)["artifacts"] == found["artifacts"]
    assert not (tmp_path / "app.ebs").exists()


def test_names_that_are_no_text(script: Cli, hello: Path, tmp_path: Path) -> None:
    os.rename(tmp_path / hello, os.fsencode(tmp_path) + b"/caf\xe9.xen")
    done = script("build", "caf\udce9.xen", "-o", "x.raw")
    assert done.code == 0, done.err
    done = script("build", "caf\udce9.xen", "--cmdline", "\udce9")
    assert (done.code, "error: the command line: cmdline" in done.err) == (2, True)


def test_the_cache_lies_where_it_is_told(script: Cli, hello: Path, tmp_path: Path) -> None:
    env = {"IMAGEKIT_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path / "xdg")}
    assert script("build", hello, env=env).code == 0
    assert (tmp_path / "xdg" / "imagekit" / "blobs").is_dir()
    assert not (tmp_path / "cache").exists()
    assert script("build", hello, env={**env, "IMAGEKIT_CACHE_DIR": "own"}).code == 0
    assert (tmp_path / "own" / "blobs").is_dir()
    (tmp_path / "file").touch()
    said = script("build", hello, env={"IMAGEKIT_CACHE_DIR": "file"})
    assert said.code != 0
    assert f"error: the cache {tmp_path}/file cannot be used" in said.err
    assert "IMAGEKIT_CACHE_DIR" in said.err


def test_looking_after_the_cache(cli: Cli, hello: Path, tmp_path: Path) -> None:
    cli("build", hello, "-q")
    said = cli("cache", "ls")
    assert {line.split()[1] for line in said.out.splitlines()[1:]} >= {
        "kernel",
        "root",
        "disk",
        "sidecar",
        "xl.cfg",
    }
    assert f"{tmp_path}/cache: 7 results" in said.err
    found = json.loads(cli("cache", "ls", "--json").out)
    assert found["path"] == str(tmp_path / "cache")
    assert len(found["results"]) == 7
    assert {len(result["key"]) for result in found["results"]} == {64}
    assert (cli("cache", "verify").code, cli("cache", "verify").out) == (0, "7 blobs, 0 damaged\n")

    disk = next(result["digest"] for result in found["results"] if result["step"] == "disk")
    with (tmp_path / "cache" / "blobs" / disk).open("r+b") as file:
        file.write(b"damage")
    said = cli("cache", "verify")
    assert (said.code, said.out) == (6, "7 blobs, 1 damaged\n")
    assert f"{disk[:16]}: damaged" in said.err
    assert "error: 1 of 7 cached results were damaged\nhint: " in said.err
    assert cli("cache", "verify").out == "6 blobs, 0 damaged\n"

    assert cli("cache", "prune", "--older-than", "1h").out == "0 blobs removed, 0 B freed\n"
    assert cli("cache", "prune", "--keep", "1GiB").out == "0 blobs removed, 0 B freed\n"
    assert cli("cache", "prune", "--older-than", "0s").out.startswith("6 blobs removed")
    assert cli("cache", "prune", "--all").out == "0 blobs removed, 0 B freed\n"
    assert cli("cache", "ls").out.splitlines() == ["key  step  digest  size"]


def test_nobody_prunes_under_a_build(cli: Cli, hello: Path, tmp_path: Path) -> None:
    cli("build", hello, "-q")
    with (tmp_path / "cache" / "in-use").open() as building:
        fcntl.flock(building, fcntl.LOCK_SH)
        said = cli("cache", "prune", "--all")
    assert (said.code, said.out) == (75, "")
    assert said.err == f"error: the cache {tmp_path}/cache is in use\nhint: prune it when no build is running\n"


def test_targets_and_schema(cli: Cli) -> None:
    lines = cli("targets").out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ami", ".manifest.xml"],
        ["ebs", ".ebs"],
        ["openstack", ".tgz"],
        ["qubes", ".tar"],
        ["rackspace", ".vhd"],
        ["xcp", ".vhd"],
        ["xen", ".raw"],
    ]
    assert json.loads(cli("targets", "--json").out)["ebs"]["extension"] == ".ebs"
    said = cli("schema")
    assert (said.code, said.err) == (0, "")
    assert json.loads(said.out)["title"] == "imagekit recipe"
