"""The commands for Qubes' dom0: golden texts, and what a real shell makes of their words."""

import hashlib
import os
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.errors import UnsuitedError
from imagekit.formats.qvm import (
    Qube,
    based_on,
    check_file,
    check_kernelopts,
    check_name,
    of_kernel,
    of_template,
    standalone,
)

GOLDEN = Path(__file__).parent / "qubes"

APP = Qube("app", "pvh", "app", 32, 1, kernelopts="--ipv4=10.0.0.2/24 -l '*:info'")
WALL = Qube(
    "wall", "pv", "wall", 64, 2, "", "green", "sys-net", provides_network=True, features={"qubes-firewall": "1"}
)
IMAGE = Qube("site", "pvh", "pvgrub2-pvh", 128, 1, netvm="")
TEXTS = {
    "app.txt": of_kernel(APP, "app.qubes.tar", "0" * 64),
    "wall.txt": of_kernel(WALL, "wall.qubes.tar", "f" * 64),
    "site.txt": of_template(IMAGE, "site.qubes.img", "9" * 64),
}
PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=80)


@pytest.mark.parametrize("name", TEXTS)
def test_the_text(name: str) -> None:
    golden = GOLDEN / name
    if os.environ.get("IMAGEKIT_GOLDEN") == "write":
        golden.write_text(TEXTS[name])
    assert TEXTS[name] == golden.read_text()


def commands(text: str) -> str:
    """Return the lines of a text that are commands."""
    return "\n".join(line for line in text.splitlines() if line.startswith("    "))


def obeyed(text: str) -> list[list[str]]:
    """Have a real shell run the qvm-… commands of a text, and return the words that each was given."""
    qvm = "".join(
        f'{name}() {{ printf "%s\\0" {name} "$@"; echo; }}\n' for name in ("create", "features", "start")
    )
    script = qvm + re.sub(r"^ +qvm-(create|features|start)", r"\1", commands(text), flags=re.MULTILINE)
    kept = [line for line in script.splitlines() if not re.match(r" *(qvm-|sudo |echo |QUBE=)", line)]
    said = run("sh", "-eu", stdin="\n".join(kept).encode()).stdout.decode()
    return [line.split("\0")[:-1] for line in said.splitlines()]


def test_the_shell_reads_what_is_meant() -> None:
    create, *features, start = obeyed(TEXTS["app.txt"])
    assert (create[0], create[-1], start) == ("create", "app", ["start", "app"])
    assert features == [["features", "app", "no-default-kernelopts", "1"], ["features", "app", "qrexec", ""]]
    properties = dict(word.split("=", 1) for before, word in pairwise(create) if before == "--property")
    assert properties == {
        "virt_mode": "pvh",
        "kernel": "app",
        "memory": "32",
        "maxmem": "32",
        "vcpus": "1",
        "kernelopts": APP.kernelopts,
    }


def test_a_network_for_others() -> None:
    create, *features, _ = obeyed(TEXTS["wall.txt"])
    assert {"netvm=sys-net", "provides_network=True", "virt_mode=pv"} <= set(create)
    assert ["features", "wall", "qubes-firewall", "1"] in features
    assert "Qubes advises against" in TEXTS["wall.txt"]


def test_a_template_and_its_qube() -> None:
    template, app, feature, start = obeyed(TEXTS["site.txt"])
    assert template[:3] == ["create", "--class", "TemplateVM"]
    assert template[-3:] == ["--root-copy-from", "site.qubes.img", "site"]
    assert "kernel=pvgrub2-pvh" in template
    assert app[:5] == ["create", "--class", "AppVM", "--template", "site"]
    assert "netvm=" in app, "it has none"
    assert feature == ["features", "site-app", "qrexec", ""], "R4.0 would wait for an agent"
    assert start == ["start", "site-app"]


def test_an_empty_value_is_seen_to_be_meant() -> None:
    assert "--property 'kernelopts=' \\\n" in TEXTS["wall.txt"]
    assert "--property 'netvm=' site-app\n" in TEXTS["site.txt"]
    create, *_ = obeyed(TEXTS["wall.txt"])
    assert "kernelopts=" in create


@pytest.mark.parametrize("text,name", [("app.txt", "app"), ("site.txt", "site-app")])
def test_what_a_kernel_said_that_has_ended(text: str, name: str) -> None:
    assert f"    sudo tail -n 40 /var/log/xen/console/guest-{name}.log\n" in TEXTS[text]


def test_an_agent_that_the_recipe_tells_of() -> None:
    qube = Qube("app", "pvh", "app", 32, 1, features={"qrexec": "1"})
    assert ["features", "app", "qrexec", "1"] in obeyed(of_kernel(qube, "app.tar", "0" * 64))
    assert ["features", "app", "qrexec", ""] not in obeyed(of_kernel(qube, "app.tar", "0" * 64))


def pasted(text: str, dom0: Path) -> list[str]:
    """Paste all commands into a shell in dom0, where programs note what they are called with; return that."""
    called, bin_ = dom0 / "called", dom0 / "bin"
    bin_.mkdir()
    called.touch()
    for name in (
        "sudo",
        *(f"qvm-{verb}" for verb in ("create", "features", "remove", "shutdown", "start", "volume")),
    ):
        (bin_ / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{called}\n')
        (bin_ / name).chmod(0o755)
    lines = [line for line in commands(text).splitlines() if "qvm-run" not in line]
    path = f"{bin_}:{os.environ['PATH']}"
    run("sh", stdin="\n".join(lines).encode(), cwd=dom0, env={"PATH": path})
    return called.read_text().splitlines()


@pytest.mark.parametrize("content,right", [(b"as built", True), (b"as changed", False)])
def test_what_has_another_sum_is_not_unpacked(tmp_path: Path, content: bytes, right: bool) -> None:
    digest = hashlib.sha256(b"as built").hexdigest()
    (tmp_path / "my app.tar").write_bytes(content)
    called = pasted(of_kernel(APP, "my app.tar", digest), tmp_path)
    unpacked = "sudo tar --extract --file my app.tar --directory /var/lib/qubes/vm-kernels"
    assert (unpacked in called) is right


@pytest.mark.parametrize("content,right", [(b"as built", True), (b"as changed", False)])
def test_what_has_another_sum_is_no_root_volume(tmp_path: Path, content: bytes, right: bool) -> None:
    digest = hashlib.sha256(b"as built").hexdigest()
    (tmp_path / "site.img").write_bytes(content)
    called = pasted(of_template(IMAGE, "site.img", digest), tmp_path)
    assert any("--root-copy-from site.img site" in line for line in called) is right
    assert ("qvm-volume import site:root site.img" in called) is right


@pytest.mark.parametrize("name", ["it's.tar", "-app.tar", "a\\b.tar", "a\nb.tar", "\x1b.tar"])
def test_names_that_the_commands_cannot_say(name: str) -> None:
    with pytest.raises(UnsuitedError, match="cannot name the file"):
        check_file(name)


@pytest.mark.parametrize("name", ["app.tar", "my app.tar", 'a$b`c".tar', "naïve.tar"])
def test_names_that_they_can_say(tmp_path: Path, name: str) -> None:
    check_file(name)
    (tmp_path / name).write_bytes(b"as built")
    called = pasted(of_kernel(APP, name, hashlib.sha256(b"as built").hexdigest()), tmp_path)
    assert any(f"--file {name} --dir" in line for line in called)


@settings(max_examples=40)
@given(PRINTABLE, PRINTABLE)
def test_any_command_line_survives_the_shell(cmdline: str, value: str) -> None:
    qube = Qube("app", "pvh", "app", 32, 1, kernelopts=cmdline, features={"note": value})
    create, *_, feature, _ = obeyed(of_kernel(qube, "app.tar", "0" * 64))
    assert create[-2] == f"kernelopts={cmdline}"
    assert feature[-1] == value
    assert next(standalone(qube))[1:] == tuple(create[1:])


@pytest.mark.parametrize(
    "name", ["none", "default", "dom0", "Domain-0", "app-dm", "1app", "-app", "a b", "a" * 32, "", "a\n", "a/b"]
)
def test_names_that_no_qube_may_have(name: str) -> None:
    with pytest.raises(UnsuitedError, match="no qube may be called"):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "a" * 31])
def test_names_that_one_may_have(name: str) -> None:
    check_name(name)


def test_command_lines_that_dom0_takes() -> None:
    check_kernelopts("a" * 512)
    for text in ("a" * 513, "naïve", "a\tb", "a\nb", "a\x7f"):
        with pytest.raises(UnsuitedError):
            check_kernelopts(text)


def test_a_long_name_leaves_room() -> None:
    assert based_on(Qube("a" * 31, "pvh", "k", 32, 1)) == "a" * 27 + "-app"
