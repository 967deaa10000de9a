"""The rehearsed account as a process, found by nothing but the environment that AWS's clients read."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from imagekit.errors import UsageError
from imagekit.rehearsal.account import Rehearsal
from imagekit.rehearsal.settings import AccountSettings

boto3 = pytest.importorskip("boto3")
pytest.importorskip("moto")
pytest.importorskip("cryptography")

Process = subprocess.Popen[str]


def start(folder: Path, *more: str) -> Process:
    command = [sys.executable, "-m", "imagekit.rehearsal", "--folder", str(folder), *more]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextmanager
def rehearsed(folder: Path, *more: str) -> Generator[tuple[Process, dict[str, Any]], None, None]:
    with start(folder, *more) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def test_clients_need_nothing_but_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more: tuple[str, ...] = ("--region", "eu-west-1", "--region", "us-east-1", "--bucket", "ours@us-east-1")
    more += ("--fault", "DescribeRegions 1 throttle", "--settings", '{"latency": 0.01}')
    with rehearsed(tmp_path / "new", *more) as (process, said):
        for name, value in said["environment"].items():
            monkeypatch.setenv(name, value)
        assert said["certificate"] == str(tmp_path / "new" / "certificate.pem")
        assert said["endpoints"]["ec2"] == said["url"]
        ec2 = boto3.client("ec2", region_name="eu-west-1")
        assert [one["RegionName"] for one in ec2.describe_regions()["Regions"]] == said["regions"]
        snapshot = boto3.client("ebs", region_name="us-east-1").start_snapshot(VolumeSize=1)["SnapshotId"]
        there = boto3.client("ec2", region_name="us-east-1")
        assert there.describe_snapshots()["Snapshots"][0]["SnapshotId"] == snapshot
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.put_object(Bucket="ours", Key="k", Body=b"data")
        assert s3.get_object(Bucket="ours", Key="k")["Body"].read() == b"data"
        assert boto3.client("sts", region_name="eu-west-1").get_caller_identity()["Account"] == said["owner"]
        lines = [json.loads(line) for line in Path(said["calls"]).read_text().splitlines()]
        told = [(one["service"], one["region"], one["action"], one["status"], one["fault"]) for one in lines]
        assert told == [
            ("ec2", "eu-west-1", "DescribeRegions", 503, "throttle"),
            ("ec2", "eu-west-1", "DescribeRegions", 200, ""),
            ("ebs", "us-east-1", "StartSnapshot", 201, ""),
            ("ec2", "us-east-1", "DescribeSnapshots", 200, ""),
            ("s3", "us-east-1", "PutObject", 200, ""),
            ("s3", "us-east-1", "GetObject", 200, ""),
            ("sts", "eu-west-1", "GetCallerIdentity", 200, ""),
        ]
        for client in (ec2, there, s3):
            client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    with rehearsed(tmp_path) as (process, _):
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


def test_it_may_stay(tmp_path: Path) -> None:
    with rehearsed(tmp_path, "--stay") as (process, _):
        assert process.stdin is not None
        process.stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_what_cannot_be_meant_is_said(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "imagekit.rehearsal",
        "--folder",
        str(tmp_path),
        "--settings",
        '{"latncy": 1}',
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no such setting: latncy" in done.stderr


@pytest.mark.parametrize(
    "text", ["", "[]", '{"latency": -1}', '{"latency": true}', '{"private": 1}', '{"denied": "x"}']
)
def test_settings_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageError):
        AccountSettings().with_json(text)


def test_settings_are_read() -> None:
    given = '{"access": "AKIDX", "token": "t", "encrypted": ["eu-west-1"], "pending": 3, "private": true}'
    read = AccountSettings().with_json(given)
    assert (read.keys.access, read.keys.token, read.pending, read.private) == ("AKIDX", "t", 3, True)
    assert read.encrypted == frozenset({"eu-west-1"})


@pytest.mark.parametrize(
    "wrong",
    [
        AccountSettings(faults=("PutObject 1 nonsense",)),
        AccountSettings(buckets=("No_Bucket",)),
        AccountSettings(buckets=("ours@mars-north-1",)),
        AccountSettings(regions=()),
    ],
)
def test_accounts_that_cannot_be(wrong: AccountSettings, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        Rehearsal(tmp_path, wrong)
    assert os.listdir(tmp_path) == []
