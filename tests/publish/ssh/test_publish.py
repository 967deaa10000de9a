"""Publishing to a Xen host: a real sshd, and an xl of ours."""

import json
import re
from pathlib import Path

import pytest

from imagekit.formats.xl_reading import domain_of
from imagekit.sparse import allocated, map_blocks
from tests.cli.conftest import Cli
from tests.publish.ssh.conftest import Build, Dom0, MakeDom0

START, REPLACE = ("--start", "--watch", "1"), ("--replace", "--watch", "1")


def receipt(text: str) -> dict[str, object]:
    (found,) = json.loads(text)["receipts"]
    assert isinstance(found, dict)
    return found


def the(dom0: Dom0, ending: str) -> Path:
    """Return the one file in the folder of images that ends so."""
    (found,) = [dom0.images / name for name in dom0.files if name.endswith(ending)]
    return found


def test_files_are_placed(cli: Cli, dom0: Dom0, build: Build) -> None:
    raw = build("app", 'vif=[{bridge="xenbr0"}]', "memory='32MiB'", "disk.size='64MiB'")
    said = cli("publish", raw, "--host", "dom0")
    assert said.code == 0, said.err
    image, configuration = the(dom0, ".raw"), the(dom0, ".cfg")
    assert said.out == f"{configuration}\n"
    assert len(dom0.files) == 2
    assert map_blocks(image) == map_blocks(raw)
    assert allocated(image) < 8 << 20
    domain, built = domain_of(configuration.read_text()), domain_of(Path("app.raw.cfg").read_text())
    assert domain.disks[0].path == str(image)
    assert (domain.name, domain.memory, domain.vifs, domain.cmdline) == (
        built.name,
        built.memory,
        built.vifs,
        built.cmdline,
    )
    assert dom0.calls == [], "without --start xl is not asked"


def test_started(cli: Cli, dom0: Dom0, build: Build) -> None:
    said = cli("publish", build(), "--host", "dom0", *START, "--json")
    assert said.code == 0, said.err
    (domain,) = dom0.domains.values()
    assert (domain["name"], domain["paused"]) == ("app", False)
    found = receipt(said.out)
    details = found["details"]
    assert isinstance(details, dict)
    assert details["uuid"] == domain["uuid"]
    assert "lives after" in said.err


def test_a_kernel_that_xen_loads(cli: Cli, dom0: Dom0, build: Build, hello: Path) -> None:
    said = cli("publish", build("app", 'xen.loader="direct"'), "--host", "dom0", *START)
    assert said.code == 0, said.err
    assert the(dom0, ".xen").read_bytes() == hello.read_bytes()
    assert domain_of(the(dom0, ".cfg").read_text()).kernel == str(the(dom0, ".xen"))


def test_twice_is_once(cli: Cli, dom0: Dom0, build: Build) -> None:
    raw = build()
    first = cli("publish", raw, "--host", "dom0", *START)
    before = dom0.calls, the(dom0, ".raw").stat(), dom0.domains
    again = cli("publish", raw, "--host", "dom0", *START)
    assert (again.code, again.out) == (0, first.out), again.err
    assert (the(dom0, ".raw").stat().st_mtime_ns, dom0.domains) == (before[1].st_mtime_ns, before[2])
    assert not {call.split()[0] for call in dom0.calls[len(before[0]) :]} - {"info", "vm-list"}
    assert "is there already" in again.err
    assert "runs there already" in again.err


def test_a_stranger_without_our_ledger_finds_it(cli: Cli, dom0: Dom0, build: Build, tmp_path: Path) -> None:
    raw = build()
    first = cli("publish", raw, "--host", "dom0", *START)
    before = dom0.domains
    (tmp_path / "state").rename(tmp_path / "somebody-else's")
    second = cli("publish", raw, "--host", "dom0", *START)
    assert (second.code, second.out, dom0.domains) == (0, first.out, before), second.err
    gone = cli("receipts", "destroy", second.out.strip())
    assert (gone.code, gone.out, dom0.domains) == (0, "", before), "what others made is left alone"
    assert len(dom0.files) == 2


def test_placed_first_and_started_later(cli: Cli, dom0: Dom0, build: Build) -> None:
    raw = build()
    assert cli("publish", raw, "--host", "dom0").code == 0
    said = cli("publish", raw, "--host", "dom0", *START)
    assert said.code == 0, said.err
    assert dom0.names == ["app"]


def test_damage_there_is_found_and_mended(cli: Cli, dom0: Dom0, build: Build) -> None:
    raw = build()
    assert cli("publish", raw, "--host", "dom0").code == 0
    with the(dom0, ".raw").open("r+b") as file:
        file.seek(1500)
        file.write(b"damage")
    said = cli("publish", raw, "--host", "dom0")
    assert said.code == 0, said.err
    assert "MiB sent" in said.err
    assert map_blocks(the(dom0, ".raw")) == map_blocks(raw)


def test_the_receipt_and_its_end(cli: Cli, dom0: Dom0, build: Build) -> None:
    said = cli("publish", build(), "--host", "dom0", *START)
    listed = cli("receipts", "ls")
    assert re.search(r"published +xen +dom0 +\S+\.cfg +app", listed.out), listed.out
    gone = cli("receipts", "destroy", said.out.strip())
    assert gone.code == 0, gone.err
    assert (dom0.files, dom0.domains) == ([], {})
    again = cli("receipts", "destroy", said.out.strip())
    assert (again.code, again.out) == (0, "")


def test_another_folder(cli: Cli, dom0: Dom0, build: Build, tmp_path: Path) -> None:
    raw = build()
    recipe = tmp_path / "app.toml"
    recipe.write_text(
        'kernel = "app.xen"\ntargets = ["xen", "ebs"]\n'
        f'[publish.xen]\nhost = "dom0"\nfolder = "{dom0.folder}/it\'s $HOME"\n'
    )
    assert raw.exists()
    said = cli("publish", recipe, "-t", "xen")
    assert said.code == 0, said.err
    assert said.out.startswith(f"{dom0.folder}/it's $HOME/app-")
    assert Path(said.out.strip()).exists()


def test_a_name_that_is_taken(cli: Cli, dom0: Dom0, build: Build) -> None:
    assert cli("publish", build("app", "memory='32MiB'"), "--host", "dom0", *START).code == 0
    before = dom0.domains, dom0.files
    said = cli("publish", build("app", "memory='64MiB'"), "--host", "dom0", *START)
    assert (said.code, said.out) == (5, ""), said.err
    assert "a domain named app runs there" in said.err
    assert "--replace" in said.err
    assert (dom0.domains, dom0.files) == before, "refused before anything is sent"


def test_replaced(cli: Cli, dom0: Dom0, build: Build) -> None:
    assert cli("publish", build("app", "memory='32MiB'"), "--host", "dom0", *START).code == 0
    (old,) = dom0.domains
    said = cli("publish", build("app", "memory='64MiB'"), "--host", "dom0", *REPLACE)
    assert said.code == 0, said.err
    (new,) = dom0.domains
    assert new != old
    assert dom0.names == ["app"]
    assert len(dom0.files) == 2, "the old one's files are gone"
    assert domain_of(the(dom0, ".cfg").read_text()).memory == 64
    verbs = [call.split()[0] for call in dom0.calls if call.split()[0] not in {"info", "vm-list"}]
    assert verbs[3:6] == ["pause", "rename", "create"], verbs
    assert sorted(verbs[6:8]) == ["console", "unpause"], verbs
    assert verbs[8:] == ["destroy"], verbs
    assert [line.split()[2] for line in cli("receipts", "ls").out.splitlines()[1:]] == ["destroyed", "published"]


def test_a_replacement_that_dies_leaves_the_old_one(cli: Cli, dom0: Dom0, build: Build) -> None:
    assert cli("publish", build("app", "memory='32MiB'"), "--host", "dom0", *START).code == 0
    before = dom0.domains, dom0.files
    dom0.behave(app={"console": "panic: no root", "dies": 0.2, "reason": 3, "only": "memory = 64"})
    said = cli("publish", build("app", "memory='64MiB'"), "--host", "dom0", *REPLACE)
    assert (said.code, said.out) == (5, ""), said.err
    assert "panic: no root" in said.err
    assert "it crashed" in said.err
    assert "is again what it was before" in said.err
    assert (dom0.domains, dom0.files) == before


def test_a_stranger_of_the_name_is_replaced_and_its_files_stay(
    cli: Cli, dom0: Dom0, build: Build, tmp_path: Path
) -> None:
    first = cli("publish", build("app", "memory='32MiB'"), "--host", "dom0", *START)
    (tmp_path / "state").rename(tmp_path / "somebody-else's")
    said = cli("publish", build("app", "memory='64MiB'"), "--host", "dom0", *REPLACE)
    assert said.code == 0, said.err
    assert dom0.names == ["app"]
    assert Path(first.out.strip()).exists()


def test_a_domain_that_dies_shows_its_console(cli: Cli, dom0: Dom0, build: Build) -> None:
    words = "\n".join(f"line {number}" for number in range(100))
    dom0.behave(app={"console": words, "dies": 0.2, "reason": 3})
    said = cli("publish", build(), "--host", "dom0", *START)
    assert (said.code, said.out) == (5, "")
    assert "did not live: it crashed" in said.err
    assert "line 99" in said.err
    assert "line 79" not in said.err
    assert "removed again: " in said.err
    assert (dom0.files, dom0.domains) == ([], {})


def test_a_domain_that_ends_with_its_work_done_is_published(cli: Cli, dom0: Dom0, build: Build) -> None:
    dom0.behave(app={"console": "done", "dies": 0.2, "reason": 0})
    said = cli("publish", build(), "--host", "dom0", *START)
    assert said.code == 0, said.err
    assert "its work done" in said.err


def test_what_xl_refuses_is_undone(cli: Cli, dom0: Dom0, build: Build) -> None:
    dom0.behave(app={"refused": "unable to add disk devices"})
    said = cli("publish", build(), "--host", "dom0", *START)
    assert (said.code, said.out) == (5, "")
    assert "unable to add disk devices" in said.err
    assert (dom0.files, dom0.domains) == ([], {})


def test_kept_if_asked_and_swept_later(cli: Cli, dom0: Dom0, build: Build) -> None:
    dom0.behave(app={"refused": "no"})
    assert cli("publish", build(), "--host", "dom0", *START, "--keep-on-failure").code == 5
    assert len(dom0.files) == 2
    assert cli("receipts", "sweep", "--older-than", "1d", "--region", "dom0").out == ""
    shown = cli("receipts", "sweep", "--older-than", "0s", "--region", "dom0", "--dry-run")
    assert len(shown.out.splitlines()) == 2, shown.err
    swept = cli("receipts", "sweep", "--older-than", "0s", "--region", "dom0")
    assert swept.out == shown.out, swept.err
    assert dom0.files == []


def test_a_xen_without_pv_is_refused(cli: Cli, make_dom0: MakeDom0, build: Build) -> None:
    dom0 = make_dom0("XL_CAPS=hvm-3.0-x86_64")
    said = cli("publish", build(), "--host", "dom0", *START)
    assert (said.code, said.out) == (3, "")
    assert "starts no PV guest of x86_64" in said.err
    assert dom0.files == []


def test_no_xl(cli: Cli, dom0: Dom0, build: Build) -> None:
    (dom0.folder / "bin" / "xl").unlink()
    said = cli("publish", build(), "--host", "dom0", *START)
    assert said.code == 4
    assert "xl does not work there" in said.err
    assert cli("publish", "app.raw", "--host", "dom0").code == 0


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        ((), 2, "no host is named"),
        (("--host", "dom0", "--rehearse"), 2, "is not rehearsed"),
        (("--host", "-oProxyCommand=id"), 2, "--host"),
        (("--host", "a b"), 2, "--host"),
        (("--host", "dom0", "--region", "eu-west-1"), 2, "--region is not for the target xen"),
    ],
)
def test_what_cannot_be_meant(
    cli: Cli, dom0: Dom0, build: Build, arguments: tuple[str, ...], code: int, words: str
) -> None:
    said = cli("publish", build(), *arguments)
    assert said.code == code, said.err
    assert words in said.err
    assert dom0.files == []


@pytest.mark.parametrize("name", ["app.raw", "app.raw.cfg"])
def test_what_is_not_what_was_built_is_not_sent(cli: Cli, dom0: Dom0, build: Build, name: str) -> None:
    raw = build()
    with Path(name).open("r+b") as file:
        file.seek(100)
        file.write(b"x")
    said = cli("publish", raw, "--host", "dom0")
    assert said.code == 6, said.err
    assert dom0.files == []
