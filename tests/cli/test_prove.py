"""`imagekit prove` and `build --prove` by the console script, on a real lab."""

import json
from pathlib import Path

import pytest

from imagekit.command import run
from imagekit.prove.lab import HVM, PLAIN
from tests.cli.conftest import Cli, Said
from tests.prove.prepared import prepared

lab = pytest.mark.xdist_group("lab")


@pytest.fixture
def prove(script: Cli, tmp_path: Path) -> Cli:
    """Return a function that runs the script with the common lab, and proofs of its own."""
    places = {"IMAGEKIT_CACHE_DIR": str(prepared()), "IMAGEKIT_STATE_DIR": str(tmp_path / "state")}

    def run_it(*arguments: str | Path) -> Said:
        return script(*arguments, env=places)

    return run_it


def proofs(tmp_path: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_bytes()) for path in (tmp_path / "state" / "proofs").glob("*.json")]


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((), "error: nothing to prove\nhint: imagekit prove app.ebs, or --prepare\n"),
        (("--from", "."), "error: --from says where the lab's packages lie\nhint: it goes with --prepare\n"),
        (("app.xen", "--from", "."), "error: --from says where"),
        (("app.xen", "--network", "10.0.0.1/24"), "error: --network and --get go together\n"),
        (("app.xen", "--get", "http://10.0.0.2/"), "error: --network and --get go together\n"),
        (("app.xen", "--expect-body", "x"), "error: --network and --get go together\n"),
        (("app.xen", "--network", "x", "--get", "http://10.0.0.2/"), "no network and no URL"),
        (("app.xen", "--network", "10.0.0.1/24", "--get", "http://10.0.0.2:x/"), "no network and no URL"),
        (("app.xen", "--network", "10.0.0.1/24", "--get", "http://example.org/"), "no network and no URL"),
        (("app.xen", "--network", "10.0.0.1/24", "--get", "https://10.0.0.2/"), "https://10.0.0.2/ cannot be"),
        (("app.xen", "--network", "10.0.0.1/24", "--get", "http://me:pw@10.0.0.2/"), "cannot be fetched"),
        (("app.xen", "--memory", "lots"), "error: --memory lots is no size\n"),
        (("app.xen", "--memory", "64"), "error: --memory 64: a guest takes whole MiB, 4 at least\n"),
        (("app.xen", "--timeout", "0"), "Invalid value"),
        (("app.xen", "--by", "magic"), "Invalid value"),
        (("app.xen", "--boot", "pygrub"), "Invalid value"),
        (("app.xen", "--by", "pvh", "--boot", "auto"), "error: --by pvh and --boot auto: one of them\n"),
        (("app.xen", "--accel", "magic"), "Invalid value"),
        (("none.raw",), "error: none.raw is not there, or is no file\n"),
        (("none.raw", "--by", "pv"), "error: none.raw is not there, or is no file\n"),
        (("none.toml",), "none.toml cannot be read"),
    ],
)
def test_usage_that_cannot_be_meant(arguments: tuple[str, ...], words: str, cli: Cli, hello: Path) -> None:
    assert hello.exists()
    said = cli("prove", *arguments)
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert "Traceback" not in said.err


def test_packages_by_name(cli: Cli) -> None:
    said = cli("prove", "--packages")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == list(PLAIN.packages)


@pytest.mark.parametrize("option", ["--by", "--boot"])
def test_packages_of_the_lab_for_hvm_guests(option: str, cli: Cli) -> None:
    said = cli("prove", "--packages", option, "hvm")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == list(HVM.packages)
    assert "qemu-system-xen" in said.out


def test_packages_of_the_lab_for_all_others(cli: Cli) -> None:
    said = cli("prove", "--packages", "--boot", "auto")
    assert (said.code, said.out.splitlines()) == (0, list(PLAIN.packages))


def test_a_kernel_is_built_for_the_kind_of_guest_that_is_proved(cli: Cli, hello: Path) -> None:
    said = cli("prove", hello, "--boot", "pvh")
    assert said.code == cli("build", hello, "--boot", "pvh").code == 3
    assert "it has no entry for PVH" in said.err


def test_a_file_that_is_not_what_its_sidecar_says(cli: Cli, hello: Path) -> None:
    assert cli("build", hello, "-o", "x.raw").code == 0
    with Path("x.raw").open("ab") as file:
        file.write(b"!")
    said = cli("prove", "x.raw")
    assert (said.code, said.out) == (6, "")
    assert "error: x.raw is not what its sidecar says\n" in said.err


@lab
def test_an_image_that_boots(prove: Cli, hello: Path, tmp_path: Path) -> None:
    assert prove("build", hello, "-o", "x.raw", "-q").code == 0
    said = prove("prove", "x.raw", "--expect", "hello from", "--power-off", "--json", "--console", "guest.log")
    assert said.code == 0, said.err
    (verdict,) = json.loads(said.out)["proofs"]
    assert (verdict["booted"], verdict["verdict"], verdict["way"]) == (True, "booted", "pygrub")
    assert verdict["expected"] == {"text": "hello from", "off": True, "body": "", "url": ""}
    assert [verdict] == proofs(tmp_path)
    assert "app: it said 'hello from', powered off\n" in said.err
    assert (tmp_path / "guest.log").read_text().startswith("hello from imagekit")


@lab
def test_the_console_and_nothing_else_on_stdout(prove: Cli, hello: Path) -> None:
    said = prove("prove", hello, "--by", "pv", "--expect", "powering off", "--console", "-", "--quiet")
    assert (said.code, said.err) == (0, "")
    first, *_, last = said.out.splitlines()
    assert (first, last) == ("hello from imagekit: a Xen PV kernel", "powering off")


@lab
def test_an_image_that_does_not_boot(prove: Cli, kernels: Path, tmp_path: Path) -> None:
    assert prove("build", kernels / "hello-pvh.xen", "-o", "x.raw", "-q").code == 0
    said = prove("prove", "x.raw", "--by", "pygrub", "--expect", "hello")
    assert (said.code, said.out) == (6, "hello-pvh: not started (pygrub)\n")
    told = said.err[said.err.index("error: ") :].splitlines()
    assert told[0] == "error: hello-pvh does not boot by pygrub: not started: xl could not start it"
    assert "  /boot/hello-pvh.xen: it has no entry for PV, only for PVH" in told
    assert told[-1].startswith("hint: `imagekit inspect`")
    assert [record["booted"] for record in proofs(tmp_path)] == [False]


@lab
def test_a_recipe_is_built_and_proven_for_each_target(prove: Cli, hello: Path, tmp_path: Path) -> None:
    (tmp_path / "app.toml").write_text(
        f'kernel = "{hello}"\ntargets = ["xen", "ebs"]\n[prove]\nexpect = "hello from"\n'
    )
    before = set(tmp_path.iterdir())
    said = prove("prove", "app.toml")
    assert (said.code, said.out) == (0, "app: booted (pygrub)\napp: booted (pv-grub)\n")
    assert set(tmp_path.iterdir()) == before | {tmp_path / "state"}
    assert sorted(str(record["target"]) for record in proofs(tmp_path)) == ["ebs", "xen"]


@lab
def test_what_a_kernel_is_not_for_is_said(prove: Cli, kernels: Path) -> None:
    said = prove("prove", kernels / "broken" / "pvh-only.xen", "-t", "all", "--expect", "hello from")
    booted = "pvh-only: booted (pvh)\n" + "pvh-only: booted (pvh-pygrub)\n" * 2
    assert (said.code, said.out) == (0, booted), "for qubes, for xcp, and for xen"
    assert "pvh-only: not for ebs: " in said.err


@lab
def test_build_proves_once(prove: Cli, hello: Path, tmp_path: Path) -> None:
    arguments = ("build", hello, "-o", "x.raw", "--prove", "--set", "prove.expect='hello from'")
    first = prove(*arguments)
    assert (first.code, first.out) == (0, "x.raw\n"), first.err
    assert "app: it said 'hello from'\n" in first.err
    (record,) = proofs(tmp_path)
    again = prove(*arguments)
    assert (again.code, again.out) == (0, "x.raw\n")
    assert f"x.raw: proven before, {record['started']}: it said 'hello from'\n" in again.err
    assert "MiB\n" not in again.err.partition("proven before")[0]
    assert proofs(tmp_path) == [record]
    other = prove(*arguments[:-1], "prove.expect='never said'")
    assert (other.code, other.out) == (6, "")
    assert "error: app does not boot by pygrub: ended without the text: it powered off without" in other.err


@lab
def test_amazons_rules_fail_what_grub_boots(prove: Cli, hello: Path, tmp_path: Path) -> None:
    """menu.lst says (hd0,0), and the disk has no partitions: GRUB 2 finds the kernel all the same, or does not."""
    assert prove("build", hello, "-t", "ebs", "-o", "x.ebs", "-q").code == 0
    run("cp", "--sparse=always", tmp_path / "x.ebs", tmp_path / "alone.raw")
    menu = run("debugfs", "-R", "cat /boot/grub/menu.lst", tmp_path / "alone.raw").text()
    (tmp_path / "menu.lst").write_text(menu.replace("(hd0)", "(hd0,0)"))
    run("debugfs", "-w", "-R", "rm /boot/grub/menu.lst", tmp_path / "alone.raw")
    run("debugfs", "-w", "-R", f"write {tmp_path}/menu.lst /boot/grub/menu.lst", tmp_path / "alone.raw")
    said = prove("prove", "alone.raw", "--by", "pv-grub", "--expect", "hello from", "--timeout", "8")
    assert said.code == 6
    assert "(hd0,0)" in said.err
