"""Whether KVM is of use: a /dev/kvm that is there says little, a short real run says it."""

import os
from pathlib import Path

import pytest

from imagekit import accelerator
from imagekit.accelerator import against_kvm
from imagekit.errors import ToolError


def qemu(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "qemu-system-x86_64").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "qemu-system-x86_64").chmod(0o755)


def test_the_bios_runs_emulated_and_ends_by_itself() -> None:
    assert 0 < accelerator._boot("tcg", 20) < 20  # noqa: SLF001 -- what both trials are made of


def test_an_accelerator_that_is_none() -> None:
    with pytest.raises(ToolError, match="qemu-system-x86_64 failed") as caught:
        accelerator._boot("none-such", 20)  # noqa: SLF001
    assert "none-such" in caught.value.details


def test_a_guest_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu(tmp_path / "bin", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    with pytest.raises(ToolError, match="ran under kvm, and its guest said nothing"):
        accelerator._boot("kvm", 20)  # noqa: SLF001


def test_one_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu(tmp_path / "bin", "sleep 60")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    with pytest.raises(ToolError, match=r"did not end within 0\.2 s"):
        accelerator._boot("kvm", 0.2)  # noqa: SLF001


def test_the_answer_fits_the_machine() -> None:
    """Whatever this machine has, the answer is a line that says what to do, or nothing."""
    why = against_kvm()
    if not Path("/dev/kvm").exists():
        assert why.startswith("there is no /dev/kvm")
    elif not os.access("/dev/kvm", os.R_OK | os.W_OK):
        assert why.startswith("sudo usermod")
    else:
        assert why == "" or why.startswith("tried, and ")
    assert "\n" not in why


def test_a_qemu_that_knows_no_kvm_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        assert against_kvm()
        return
    qemu(tmp_path / "bin", 'case "$*" in *kvm*) echo "no such accelerator" >&2; exit 1;; esac; echo SeaBIOS')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    why = against_kvm()
    assert why.startswith("tried, and qemu-system-x86_64 failed (exit status 1)")
    assert why.endswith(": no such accelerator")
