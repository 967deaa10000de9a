"""What doctor finds here, and what it says where things are missing."""

from importlib.metadata import requires
from pathlib import Path

import pytest

from imagekit.doctor import Finding, examine


@pytest.fixture(scope="module")
def findings() -> dict[str, Finding]:
    return {finding.name: finding for finding in examine()}


def test_what_every_build_needs_is_here(findings: dict[str, Finding]) -> None:
    assert {finding.name for finding in findings.values() if finding.needed and not finding.ok} == set()
    assert {"Python", "mke2fs", "debugfs", "typer", "cache"} <= {
        finding.name for finding in findings.values() if finding.needed
    }


def test_versions_are_told(findings: dict[str, Finding]) -> None:
    assert findings["mke2fs"].version.startswith("1.")
    assert findings["pygrub"].version.startswith("4.")
    assert findings["libxlutil"].version == "4.17"
    assert findings["grub-mkimage"].version.startswith("2.")
    assert findings["GRUB for a BIOS"].ok
    assert findings["Python"].version.startswith("3.")


def test_every_library_of_the_package_is_listed(findings: dict[str, Finding]) -> None:
    wanted = requires("imagekit") or []
    assert wanted
    for line in wanted:
        assert any(line.startswith(name) for name in findings)
    assert findings["pyparted"].remedy == "pip install 'imagekit[disk]'"
    assert not findings["pyparted"].needed


def test_kvm_is_believed_only_when_it_ran(findings: dict[str, Finding]) -> None:
    kvm = findings["KVM"]
    assert not kvm.needed
    assert kvm.version == ("works" if kvm.ok else "not used")
    assert bool(kvm.remedy) is not kvm.ok


def test_what_is_missing_has_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = {finding.name: finding.remedy for finding in examine() if not finding.version}
    assert missing["mcopy"] == "sudo apt-get install mtools"
    assert missing["virt-xml-validate"] == "sudo apt-get install libvirt-clients"


def test_a_cache_that_cannot_be() -> None:
    found = {finding.name: finding for finding in examine(Path("/proc/none/cache"))}
    assert (found["cache"].ok, found["cache"].version) == (False, "")
    assert (found["lab"].ok, found["lab"].remedy) == (False, "imagekit prove --prepare")
    assert (found["lab-hvm"].ok, found["lab-hvm"].remedy) == (False, "imagekit prove --prepare --by hvm")
    assert found["cache"].remedy.startswith("make /proc writable")
