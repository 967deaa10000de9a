"""A Linux that says nothing: when its command line is to blame, and when not."""

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.kernel import Way
from imagekit.prove.boot import Boot, Verdict
from imagekit.prove.silence import of_silence
from imagekit.prove.subject import Subject, subject
from imagekit.unwrap import unwrapped
from tests.conftest import Make
from tests.kernel.elf_builder import bzimage, kernel, pvh_notes

GRUB = b"GNU GRUB  version 2.06\r\n  Booting `app'\r\n\r\n"


def ended(console: bytes = b"", verdict: Verdict = Verdict.CRASHED) -> Boot:
    return Boot(verdict, "why", console, "", {}, 0)


@pytest.fixture
def linux(tmp_path: Path) -> Path:
    (tmp_path / "vmlinuz").write_bytes(bzimage(gzip.compress(kernel(pvh_notes()))))
    return tmp_path / "vmlinuz"


def made(make: Make, path: Path, **settings: object) -> Subject:
    (artifact,) = make(path, target="qubes", settings=settings)
    with unwrapped(artifact.path, None) as taken:
        return subject(artifact.path, target=None, way=None, memory=None, raw=taken)


@pytest.mark.parametrize("verdict", [Verdict.CRASHED, Verdict.HUNG, Verdict.WITHOUT_TEXT])
def test_one_without_a_console(make: Make, linux: Path, verdict: Verdict) -> None:
    said = of_silence(made(make, linux, cmdline="quiet netconsole=x"), ended(b"\r\n", verdict))
    assert said.endswith(": console=hvc0")


def test_behind_grub_as_an_hvm_guest(make: Make, linux: Path) -> None:
    """What GRUB said before it is none of its own words."""
    seen = replace(made(make, linux), way=Way.HVM)
    assert of_silence(seen, ended(GRUB)).endswith("console=hvc0, and console=ttyS0 as well")
    assert of_silence(seen, ended(GRUB + b"Linux version 6.1\r\n")) == ""


def test_a_kernel_file_alone(linux: Path) -> None:
    alone = subject(linux, target=None, way=Way.PVH, memory=None)
    assert "console=hvc0" in of_silence(alone, ended())
    assert of_silence(replace(alone, kernel=b"damaged"), ended()) == ""


@pytest.mark.parametrize(
    "console, verdict, cmdline",
    [
        (b"", Verdict.REFUSED, ""),
        (b"Kernel panic", Verdict.CRASHED, ""),
        (b"", Verdict.CRASHED, "console=hvc0"),
        (b"", Verdict.CRASHED, "ro console=ttyS0,115200 quiet"),
        (b"", Verdict.CRASHED, "earlyprintk=xen"),
    ],
)
def test_another_reason(make: Make, linux: Path, console: bytes, verdict: Verdict, cmdline: str) -> None:
    assert of_silence(made(make, linux, cmdline=cmdline), ended(console, verdict)) == ""


def test_no_linux(make: Make, kernels: Path) -> None:
    assert of_silence(made(make, kernels / "hello-pvh.xen"), ended()) == ""
