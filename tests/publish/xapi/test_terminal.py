"""What a pool asks its user: at a real terminal, a pty."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fakes.xapi.settings import Machine
from tests.publish.xapi.conftest import Build, Opened

IMAGEKIT = Path(sys.executable).with_name("imagekit")


def typed(argv: list[str], answers: dict[str, str], seconds: float = 60) -> tuple[int, str, str]:
    """Run imagekit at a terminal, and type each answer where its question stands: code, stdout, what was shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([IMAGEKIT, *argv], stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    shown, left, end = "", dict(answers), time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                shown += os.read(ours, 4096).decode(errors="replace")
            except OSError:  # the other side has gone
                break
        for question in [one for one in left if one in shown]:
            os.write(ours, f"{left.pop(question)}\n".encode())
        if process.poll() is not None and not select.select([ours], [], [], 0)[0]:
            break
    out, _ = process.communicate(timeout=seconds)
    os.close(ours)
    return process.returncode, out, shown


def test_first_contact_asks_and_remembers(
    opened: Opened, build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pool, (_, host, *_) = opened()
    monkeypatch.delenv("XAPI_PASSWORD")
    path = str(build())
    code, out, shown = typed(["publish", path, "--host", host], {"Trust it?": "no"})
    assert (code, out) == (5, ""), shown
    assert pool.fingerprint in shown
    assert pool.calls == []
    answers = {"Trust it?": "yes", "Password of root": pool.settings.password}
    code, out, shown = typed(["publish", path, "--host", host], answers)
    assert code == 0, shown
    assert out == f"{pool.vdis()[0]['uuid']}\n"
    assert pool.settings.password not in shown
    code, again, shown = typed(["publish", path, "--host", host], {"Password of root": pool.settings.password})
    assert (code, again) == (0, out), shown
    assert "Trust it?" not in shown
    assert pool.settings.password not in "".join(one.read_text() for one in (tmp_path / "state").rglob("*.json"))


def test_a_master_by_ipv6(opened: Opened, build: Build) -> None:
    pool, (*_, master) = opened(hosts=(Machine("master", "::1"), Machine("slave", "127.0.0.1")))
    path = str(build())
    for number in (0, 1):
        host = pool.host_url(number).removeprefix("https://")
        prints = ["--fingerprint", pool.identities[1].fingerprint, "--fingerprint", master]
        code, out, shown = typed(["publish", path, "--host", host, *prints], {})
        assert (code, out) == (0, f"{pool.vdis()[0]['uuid']}\n"), shown
    assert pool.left() == {"VDI": 1}
