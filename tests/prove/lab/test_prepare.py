import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.errors import ToolError, UsageError
from imagekit.prove.lab import HVM, PLAIN, Lab, Variant, load, prepare
from imagekit.prove.lab.record import describe
from tests.prove.lab.conftest import MakeDeb

FILES = PLAIN.files
FEW = replace(PLAIN, packages=("libyajl2",))


def _lab(folder: Path, variant: Variant = PLAIN) -> Lab:
    folder.mkdir(parents=True)
    for name in variant.files:
        (folder / name).write_text(name)
    describe(folder, variant, "key", {"libc6": "2.36"}).write(folder)
    lab = load(folder, variant)
    assert lab
    return lab


@pytest.fixture
def few_debs(make_deb: MakeDeb, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a lab be made by a function that only writes names, of the one package that there is."""
    make_deb("libyajl2")

    def make(_: Path, __: Path, out: Path, variant: Variant) -> None:
        for name in variant.files:
            (out / name).write_text(name)

    monkeypatch.setattr("imagekit.prove.lab.preparation.make", make)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.usefixtures("few_debs")
def test_made_once_and_then_left_alone(tmp_path: Path, debs: Path) -> None:
    said: list[str] = []
    lab = prepare(tmp_path / "labs" / "lab", FEW, debs=debs, say=said.append)
    assert lab == load(lab.folder, FEW)
    assert lab.versions == {"libyajl2": "1.0"}
    assert _names(lab.folder) == {*FILES, "lab.json"}
    assert _names(lab.folder.parent) == {"lab", ".lab.lock"}
    before = lab.xen.stat().st_ino
    again = prepare(lab.folder, FEW, debs=debs, say=said.append)
    assert again == lab
    assert lab.xen.stat().st_ino == before
    assert said[-1] == f"{lab.folder}: up to date"


@pytest.mark.usefixtures("few_debs")
def test_made_again_for_a_newer_package(tmp_path: Path, debs: Path, make_deb: MakeDeb) -> None:
    before = prepare(tmp_path / "lab", FEW, debs=debs, say=print)
    make_deb("libyajl2", "2.0")
    lab = prepare(tmp_path / "lab", FEW, debs=debs, say=print)
    assert lab.versions == {"libyajl2": "2.0"}
    assert lab.digest == before.digest


@pytest.mark.usefixtures("few_debs")
def test_made_again_when_it_is_damaged(tmp_path: Path, debs: Path) -> None:
    lab = prepare(tmp_path / "lab", FEW, debs=debs, say=print)
    lab.xen.write_bytes(b"")
    assert load(lab.folder) is None
    assert prepare(lab.folder, FEW, debs=debs, say=print) == lab


@pytest.mark.usefixtures("few_debs")
def test_what_the_killed_left_goes(tmp_path: Path, debs: Path) -> None:
    (tmp_path / ".lab.new-dead" / "unpacked").mkdir(parents=True)
    (tmp_path / ".other.new-alive").mkdir()
    prepare(tmp_path / "lab", FEW, debs=debs, say=print)
    assert not (tmp_path / ".lab.new-dead").exists()
    assert (tmp_path / ".other.new-alive").exists()


def test_a_failure_leaves_the_old_lab_and_no_scraps(tmp_path: Path, debs: Path) -> None:
    lab = _lab(tmp_path / "labs" / "lab")
    with pytest.raises(ToolError, match="no package") as caught:
        prepare(lab.folder, debs=debs, say=print)
    assert all(name in caught.value.brief for name in PLAIN.packages)
    assert load(lab.folder) == lab
    assert _names(lab.folder.parent) == {"lab", ".lab.lock"}


def test_something_else_is_not_replaced(tmp_path: Path, debs: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").touch()
    for place in (tmp_path / "home", tmp_path / "home" / "letter"):
        with pytest.raises(UsageError, match="something else"):
            prepare(place, debs=debs, say=print)
    assert (tmp_path / "home" / "letter").exists()


@pytest.mark.usefixtures("few_debs")
def test_two_at_once_make_one(tmp_path: Path, debs: Path) -> None:
    context = multiprocessing.get_context("fork")
    both = [
        context.Process(target=prepare, args=(tmp_path / "lab", FEW), kwargs={"debs": debs, "say": print})
        for _ in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    assert load(tmp_path / "lab")


def test_load_of_nothing(tmp_path: Path) -> None:
    assert load(tmp_path / "nowhere") is None
    assert load(tmp_path) is None


@pytest.mark.parametrize("name", FILES)
def test_load_of_a_lab_that_is_cut_short_or_lacks_a_file(tmp_path: Path, name: str) -> None:
    lab = _lab(tmp_path / "lab")
    with (lab.folder / name).open("r+b") as stream:
        stream.truncate(1)
    assert load(lab.folder) is None
    (lab.folder / name).unlink()
    assert load(lab.folder) is None


def test_load_of_a_lab_of_another_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = _lab(tmp_path / "lab")
    monkeypatch.setattr("imagekit.prove.lab.record.revision", lambda: "0" * 64)
    assert load(lab.folder) is None


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"revision": 1}', "\xff"])
def test_load_of_a_record_that_is_none(tmp_path: Path, text: str) -> None:
    lab = _lab(tmp_path / "lab")
    (lab.folder / "lab.json").write_text(text, encoding="latin-1")
    assert load(lab.folder) is None


@pytest.mark.parametrize("field", ["sizes", "digests", "versions", "revision"])
@pytest.mark.parametrize("value", [None, [], "x", 1, {"xen": 1}])
def test_load_of_a_record_with_a_wrong_field(tmp_path: Path, field: str, value: object) -> None:
    lab = _lab(tmp_path / "lab")
    record = json.loads((lab.folder / "lab.json").read_text())
    (lab.folder / "lab.json").write_text(json.dumps({**record, field: value}))
    loaded = load(lab.folder)
    assert loaded is None


def test_one_lab_is_not_the_other(tmp_path: Path) -> None:
    assert load(_lab(tmp_path / "lab").folder, HVM) is None
    assert load(_lab(tmp_path / "lab-hvm", HVM).folder) is None
