from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.errors import VerificationError
from imagekit.provenance import packages
from imagekit.provenance.packages import Package, read_apk, read_dpkg, read_os_release

APK = """C:Q1u1pq
P:musl
V:1.2.5-r0
A:x86_64
S:407278
L:MIT
o:musl
T:the musl c library (libc) implementation
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755

P:busybox
V:1.36.1-r29
A:x86_64
L:GPL-2.0-only
o:busybox

"""


def test_this_system_as_dpkg_query_lists_it() -> None:
    told = run("dpkg-query", "-W", "-f=${db:Status-Status} ${Package} ${Version} ${Architecture}\n").text()
    expected = sorted(tuple(line.split()[1:]) for line in told.splitlines() if line.startswith("installed "))
    found = read_dpkg(Path("/var/lib/dpkg/status").read_bytes())
    assert [(one.name, one.version, one.architecture) for one in found] == expected
    assert len(found) > 100


def test_apk() -> None:
    assert read_apk(APK.encode()) == [
        Package("apk", "busybox", "1.36.1-r29", "x86_64", "busybox", "GPL-2.0-only"),
        Package("apk", "musl", "1.2.5-r0", "x86_64", "musl", "MIT"),
    ]


def test_what_is_removed_is_not_there() -> None:
    text = "Package: a\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n"
    assert read_dpkg(text.encode()) == []
    assert read_dpkg(text.replace("deinstall ok config-files", "install ok installed").encode()) != []


def test_what_cannot_be_is_left_out() -> None:
    text = "Package: {}\nStatus: install ok installed\nVersion: {}\nArchitecture: {}\n"
    for strange in ("../etc", "a b", "a\x1b[0m", "", "ä"):
        for values in ((strange, "1", "all"), ("a", strange, "all"), ("a", "1", strange)):
            assert read_dpkg(text.format(*values).encode()) == []


def test_a_description_cannot_pretend_to_be_a_field() -> None:
    text = "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nDescription: x\n Version: 2\n"
    assert [one.version for one in read_dpkg(text.encode())] == ["1"]
    assert [one.version for one in read_dpkg(text.encode() + b"Version: 3\n")] == ["1"]


def test_a_list_without_end() -> None:
    with pytest.raises(VerificationError, match="more than"):
        read_apk(b"P:a\n\n" * (packages.MOST + 1))


def test_os_release() -> None:
    assert read_os_release(b"ID=debian\nVERSION_ID=\"12\"\n# x\nNAME='A b'\n\xff") == {
        "ID": "debian",
        "VERSION_ID": "12",
        "NAME": "A b",
    }


_FIELDS = st.sampled_from(
    ["Package", "Status", "Version", "Architecture", "Source", "P", "V", "A", "o", "L", " x"]
)
_VALUES = st.sampled_from(["install ok installed", "a", "1:2-3", "amd64", ""]) | st.text(max_size=10)
_STANZAS = st.lists(st.lists(st.tuples(_FIELDS, _VALUES), max_size=6), max_size=5)


@given(_STANZAS, st.sampled_from([": ", ":"]))
def test_any_stanzas(stanzas: list[list[tuple[str, str]]], colon: str) -> None:
    text = "\n\n".join("\n".join(f"{name}{colon}{value}" for name, value in stanza) for stanza in stanzas)
    for read in (read_dpkg, read_apk):
        found = read(text.encode(errors="replace"))
        assert found == sorted(set(found))
        assert all(one.name and one.version and one.architecture for one in found)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    read_dpkg(data)
    read_apk(data)
    read_os_release(data)
