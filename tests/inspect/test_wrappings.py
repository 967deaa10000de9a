"""Disks in wrappings: told with what they are in."""

from pathlib import Path

import pytest

from imagekit.errors import UsageError, VerificationError
from imagekit.inspect import html, inspect, text
from tests.cli.conftest import Cli, cli, hello
from tests.cli.test_bundle import KEYS, raw

__all__ = ["cli", "hello", "raw"]


def test_a_vhd(cli: Cli, hello: Path) -> None:
    assert cli("build", hello, "-t", "xcp", "-o", "app.vhd", "-q").code == 0
    report = inspect(Path("app.vhd"))
    said = dict(report.wrapping)
    assert (said["form"], said["made by"], said["made at"]) == ("VHD, dynamic", "tap 1.3", "2000-01-01T00:00:00Z")
    assert said["blocks"] == "1 of 1 are there, of 2 MiB each"
    assert [verdict.loader for verdict in report.verdicts if verdict.boots]
    assert "Wrapped in\n  form " in text.render(report)
    assert "<dd>VHD, dynamic</dd>" in html.render(report)
    assert cli("convert", "app.vhd", "child.vhd", "--parent", "app.vhd").code == 0
    said = dict(inspect(Path("child.vhd")).wrapping)
    assert said["form"] == "VHD, differencing"
    assert said["parent"].startswith("app.vhd (")
    assert said["parent, MacX"] == "file://./app.vhd"


def test_an_xva(cli: Cli, hello: Path) -> None:
    assert cli("build", hello, "-t", "xcp", "--set", "xcp.format=xva", "-o", "app.xva", "-q").code == 0
    said = cli("inspect", "app.xva")
    assert said.code == 0, said.err
    assert "VM    app, 64 MiB, 1 vCPU" in said.out


def test_a_bundle(cli: Cli, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EC2_PRIVATE_KEY", raising=False)
    assert cli("bundle", raw, *KEYS).code == 0
    said = cli("inspect", "app.manifest.xml", "--private-key", "pk.pem")
    assert said.code == 0, said.err
    assert "AMI bundle" in said.out
    assert "Boot loaders" in said.out
    with pytest.raises(UsageError, match="private key"):
        inspect(Path("app.manifest.xml"))


def test_damage(cli: Cli, hello: Path) -> None:
    assert cli("build", hello, "-t", "xcp", "-o", "app.vhd", "-q").code == 0
    Path("cut.vhd").write_bytes(Path("app.vhd").read_bytes()[:-512])
    with pytest.raises(VerificationError, match="no footer at its end"):
        inspect(Path("cut.vhd"))
