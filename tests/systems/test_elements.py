"""Elements: what a choice comes to, as diskimage-builder itself has it."""

from itertools import combinations
from pathlib import Path

import pytest
from diskimage_builder import element_dependencies as theirs

from imagekit.errors import RecipeError
from imagekit.systems.elements import ALWAYS, OURS, resolved, shipped

FOLDERS = [OURS, shipped()]


@pytest.mark.parametrize(
    "wanted",
    [
        ["tiny-system"],
        ["debian-minimal", "xen-pv-guest", ALWAYS],
        ["base", "debian", "vm", "block-device-mbr"],
        ["ubuntu-minimal", "cloud-init", "openssh-server"],
        ["fedora-container", "growroot", "devuser"],
        ["gentoo", "dhcp-all-interfaces"],
    ],
    ids=" ".join,
)
def test_the_same_elements_as_theirs(wanted: list[str]) -> None:
    expected = theirs.get_elements(wanted, ":".join(map(str, FOLDERS)))
    assert dict(resolved(wanted, FOLDERS)) == {name: Path(path) for name, path in expected}


def made(folder: Path, name: str, needs: str = "", provides: str = "") -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "element-deps").write_text(needs)
    (folder / name / "element-provides").write_text(provides)


def test_an_earlier_folder_goes_first(tmp_path: Path) -> None:
    made(tmp_path / "mine", "tiny-system", provides="operating-system")
    assert resolved(["tiny-system"], [tmp_path / "mine", *FOLDERS])["tiny-system"].parent == tmp_path / "mine"
    assert resolved(["tiny-system"], [*FOLDERS, tmp_path / "mine"])["tiny-system"].parent == OURS


@pytest.mark.parametrize(
    "wanted, words",
    [
        (["tiny-sistem"], "did you mean tiny-system"),
        (["nothing-of-that-kind"], "there is no element nothing-of-that-kind"),
        (["base"], "there is no element"),
        (["xen-pv-guest"], "no element provides operating-system"),
        (["tiny-system", "debian-minimal"], "both provide operating-system"),
        (["tiny-system", "operating-system"], "operating-system is provided by tiny-system already"),
    ],
)
def test_choices_that_come_to_nothing(wanted: list[str], words: str) -> None:
    folders = FOLDERS if wanted != ["base"] else [OURS]
    with pytest.raises(RecipeError) as caught:
        resolved(wanted, folders)
    assert words in str(caught.value)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_is_left_out_is_what_is_provided(tmp_path: Path, size: int) -> None:
    made(tmp_path, "system", provides="operating-system\n")
    for number in range(4):
        made(tmp_path, f"e{number}", needs=f"e{(number + 1) % 4}\n\nsystem\n")
    for chosen in combinations(["e0", "e1", "e2", "e3"], size):
        assert set(resolved(chosen, [tmp_path])) == {"e0", "e1", "e2", "e3", "system"}


@pytest.mark.parametrize("hook", sorted(OURS.glob("*/*.d/*")), ids=lambda path: path.name)
def test_hooks_can_be_run(hook: Path) -> None:
    assert hook.stat().st_mode & 0o111
