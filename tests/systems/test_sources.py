"""The machine's apt sources, in both forms, and the mirrors that come of them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.systems.sources import Entry, deb822, entries, mirrors, one_line, own_release

MAIN = Entry("http://mirror.example/debian", "bookworm", ("main", "contrib"))


@pytest.mark.parametrize(
    "line, expected",
    [
        ("deb http://mirror.example/debian bookworm main contrib", MAIN),
        ("  deb   http://mirror.example/debian/  bookworm\tmain contrib # ours", MAIN),
        ("deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib", MAIN),
        ("deb https://mirror.example/flat ./", Entry("https://mirror.example/flat", "./", ())),
        ("deb-src http://mirror.example/debian bookworm main", None),
        ("# deb http://mirror.example/debian bookworm main", None),
        ("deb cdrom:[Debian]/ bookworm main", None),
        ("deb file:/srv/debian bookworm main", None),
        ("deb mirror+http://mirror.example/list bookworm main", None),
        ("deb http://me:secret@mirror.example/debian bookworm main", None),
        ("deb", None),
        ("", None),
    ],
)
def test_one_line(line: str, expected: Entry | None) -> None:
    assert list(one_line(line)) == ([expected] if expected else [])


STANZA = """Types: deb deb-src
# a comment
URIs: http://mirror.example/debian
Suites: bookworm
Components: main
  contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
"""


def test_deb822() -> None:
    other = "types: deb\nuris: http://a.example/x/ http://b.example/x\nsuites: one two\ncomponents: main\n"
    found = list(deb822(f"{STANZA}\n \n{other}"))
    assert found[0] == MAIN
    assert [(entry.uri[7], entry.suite) for entry in found[1:]] == [
        ("a", "one"),
        ("a", "two"),
        ("b", "one"),
        ("b", "two"),
    ]


@pytest.mark.parametrize("off", ["Enabled: no\n" + STANZA, STANZA.replace("deb deb-src", "deb-src"), "\n\n", "x"])
def test_stanzas_without_an_archive(off: str) -> None:
    assert list(deb822(off)) == []


@given(st.text(), st.binary())
def test_no_text_breaks_it(text: str, data: bytes) -> None:
    for one in (text, data.decode(errors="replace")):
        assert all(entry.uri.startswith("http") for entry in [*one_line(one), *deb822(one)])


def test_all_files_of_apt(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://one.example/debian bookworm main\n")
    (tmp_path / "sources.list.d" / "a.list").write_text("deb http://two.example/debian bookworm main\n")
    (tmp_path / "sources.list.d" / "b.sources").write_text(STANZA)
    (tmp_path / "sources.list.d" / "c.sources.bak").write_text(STANZA)
    (tmp_path / "sources.list.d" / "d.list").mkdir()
    assert [entry.uri[7:10] for entry in entries(tmp_path)] == ["one", "two", "mir"]
    assert entries(tmp_path / "nowhere") == []


SECURITY = Entry("http://mirror.example/security", "bookworm-security", ("main",))


@pytest.mark.parametrize(
    "release, known, expected",
    [
        ("bookworm", [MAIN, SECURITY], (MAIN.uri, SECURITY.uri)),
        ("trixie", [MAIN, SECURITY], (MAIN.uri, SECURITY.uri)),
        ("trixie", [MAIN, Entry("http://new.example/d", "trixie", ())], ("http://new.example/d", None)),
        ("bullseye", [Entry("http://old.example/s", "bullseye/updates", ())], (None, "http://old.example/s")),
        ("bookworm", [Entry("http://else.example/", "nodistro", ())], (None, None)),
        ("bookworm", [], (None, None)),
    ],
)
def test_mirrors(release: str, known: list[Entry], expected: tuple[str | None, str | None]) -> None:
    assert mirrors(release, "bookworm", known) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ('ID=debian\nVERSION_CODENAME=bookworm\nNAME="Debian GNU/Linux"\n', "bookworm"),
        ('ID="debian"\nVERSION_CODENAME="trixie"\n', "trixie"),
        ("ID=ubuntu\nVERSION_CODENAME=noble\n", ""),
        ("", ""),
    ],
)
def test_the_system_that_runs_here(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text(text)
    assert own_release(tmp_path / "os-release") == expected
    assert own_release(tmp_path / "none") == ""
