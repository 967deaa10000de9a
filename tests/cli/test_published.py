"""What lies in the account after `publish` boots: read back from the server, and proven on a real Xen."""

import json
from pathlib import Path

import pytest

from imagekit.sparse import digest_file
from tests.cli.conftest import Cli
from tests.cli.test_bundle import ACCOUNT, raw
from tests.cli.test_prove import proofs, prove
from tests.cli.test_publish import ebs
from tests.cli.test_publish_bundle import BUCKET, opened
from tests.publish.conftest import REGION, Open, rehearse

__all__ = ["ebs", "prove", "raw", "rehearse"]
OWN = ("--set", "ami.private_key=pk.pem", "--set", "ami.ec2_cert=ec2.pem", "--set", f"ami.user={ACCOUNT}")

pytestmark = pytest.mark.xdist_group("lab")


def test_a_snapshot(cli: Cli, prove: Cli, ebs: Path, rehearse: Open, tmp_path: Path) -> None:
    account = rehearse()
    assert cli("publish", ebs, "--region", REGION).code == 0
    (snapshot,) = account.snapshots(REGION)
    snapshot.read_back(tmp_path / "back")
    assert digest_file(tmp_path / "back") == digest_file(ebs)
    said = prove("prove", "back", "--by", "pv-grub", "--expect", "hello from")
    assert (said.code, said.out) == (0, "back: booted (pv-grub)\n")


def test_a_bundle_by_its_manifest(cli: Cli, prove: Cli, raw: Path, rehearse: Open, tmp_path: Path) -> None:
    assert raw.exists()
    account = opened(rehearse)
    said = cli("build", "app.xen", "-t", "ami", *OWN, "-o", "out/")
    assert said.code == 0, said.err
    said = cli("publish", said.out.strip(), "--bucket", BUCKET, "--prefix", "")
    assert said.code == 0, said.err
    (tmp_path / "back").mkdir()
    for name in ("app.manifest.xml", "app.part.0"):
        data = account.stored(BUCKET, name)
        assert data is not None
        (tmp_path / "back" / name).write_bytes(data)
    sidecar = "app.manifest.xml.imagekit.json"
    (tmp_path / "back" / sidecar).write_bytes((tmp_path / "out" / sidecar).read_bytes())
    said = prove("prove", "back/app.manifest.xml", "--private-key", "pk.pem", "--expect", "hello from")
    assert (said.code, said.out) == (0, "app: booted (pv-grub)\n"), said.err
    (record,) = proofs(tmp_path)
    assert record["disk"] == json.loads((tmp_path / "back" / sidecar).read_text())["digest"]
    assert cli("publish", "out/app.manifest.xml", "--bucket", BUCKET, "--prefix", "", "--require-proof").code == 0


def test_a_bundle_without_its_key(cli: Cli, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert raw.exists()
    monkeypatch.delenv("EC2_PRIVATE_KEY", raising=False)
    assert cli("build", "app.xen", "-t", "ami", *OWN, "-o", "out/", "-q").code == 0
    said = cli("prove", "out/app.manifest.xml")
    assert said.code == 2
    assert "hint: --private-key, or EC2_PRIVATE_KEY" in said.err


def test_rehearsed_with_a_bucket_that_is_made(cli: Cli, raw: Path) -> None:
    assert cli("bundle", raw, "-o", "out", "--private-key", "pk.pem", "--ec2-cert", "ec2.pem", "--user", ACCOUNT)
    said = cli("publish", "out/app.manifest.xml", "--bucket", BUCKET, "--rehearse")
    assert said.code == 0, said.err
    assert said.out.startswith("ami-")
    assert "s3 CreateBucket: 200" in said.err
