"""Who is believed, and what is asked only once."""

import json
from pathlib import Path

import pytest

from imagekit.errors import PublishError, UsageError
from imagekit.publish.xapi.address import Address, address_of
from imagekit.publish.xapi.credentials import credentials
from imagekit.publish.xapi.session import RefusedError, Session
from imagekit.publish.xapi.trust import Trust
from tests.fakes.conftest import Pools
from tests.fakes.xapi.pool import Pool


class Asked:
    """Somebody who answers, and remembers what was asked."""

    def __init__(self, answer: str | None) -> None:
        self.answer = answer
        self.questions: list[tuple[str, bool]] = []

    def __call__(self, question: str, *, secret: bool = False) -> str | None:
        self.questions.append((question, secret))
        return self.answer


def session(pool: Pool, trust: Trust) -> Session:
    given = credentials(
        None, None, {"XAPI_PASSWORD": pool.settings.password, "HOME": "/none"}, "pool", Asked(None)
    )
    return Session(address_of(pool.url), trust, given)


def test_asked_once(pools: Pools, tmp_path: Path) -> None:
    pool, asked, known = pools(), Asked("yes"), tmp_path / "state" / "hosts.json"
    for _ in range(2):
        session(pool, Trust((), None, known, asked)).close()
    ((question, secret),) = asked.questions
    assert pool.fingerprint in question
    assert not secret
    assert list(json.loads(known.read_text()).values()) == [pool.fingerprint]
    known.write_text(json.dumps({address_of(pool.url).authority: "AB:" * 31 + "AB"}))
    with pytest.raises(PublishError, match="has another certificate than the one that is trusted"):
        session(pool, Trust((), None, known, asked))
    assert pool.sessions() == []


@pytest.mark.parametrize("answer", ["no", "", None])
def test_no_is_no(pools: Pools, tmp_path: Path, answer: str | None) -> None:
    pool = pools()
    with pytest.raises(PublishError, match="is not trusted"):
        session(pool, Trust((), None, tmp_path / "hosts.json", Asked(answer)))
    assert pool.calls == []
    assert not (tmp_path / "hosts.json").exists()


def test_by_a_ca(pools: Pools, tmp_path: Path) -> None:
    pool, other = pools(), pools()
    session(pool, Trust((), pool.ca_pem, tmp_path / "hosts.json", Asked(None))).close()
    with pytest.raises(PublishError, match="is not who its certificate should say"):
        session(pool, Trust((), other.ca_pem, tmp_path / "hosts.json", Asked(None)))
    (tmp_path / "empty").touch()
    with pytest.raises(UsageError, match="has no certificates"):
        session(pool, Trust((), tmp_path / "empty", tmp_path / "hosts.json", Asked(None)))


def test_nobody_there(tmp_path: Path) -> None:
    trust = Trust((), None, tmp_path / "hosts.json", Asked("yes"))
    with pytest.raises(PublishError, match="cannot be reached"):
        trust.connection(Address("127.0.0.1", 1), 1.0)


def test_a_call_that_is_refused(pools: Pools, tmp_path: Path) -> None:
    pool = pools()
    found = session(pool, Trust([pool.fingerprint.lower().replace(":", "")], None, tmp_path / "h", Asked(None)))
    with pytest.raises(RefusedError) as caught:
        found.call("VDI.get_record", "OpaqueRef:none")
    assert (caught.value.code, caught.value.parameters[0]) == ("HANDLE_INVALID", "VDI")
    found.close()
    assert pool.sessions() == []


@pytest.mark.parametrize(
    "named, host, port, authority",
    [
        ("pool.example", "pool.example", 443, "pool.example"),
        ("https://pool.example:8443/", "pool.example", 8443, "pool.example:8443"),
        ("2001:db8::7", "2001:db8::7", 443, "[2001:db8::7]"),
        ("[2001:db8::7]:8443", "2001:db8::7", 8443, "[2001:db8::7]:8443"),
    ],
)
def test_addresses(named: str, host: str, port: int, authority: str) -> None:
    found = address_of(named)
    assert (found.host, found.port, found.authority) == (host, port, authority)


@pytest.mark.parametrize("named", ["", "a b:c:d", "pool.example:0", "pool.example:70000", "[::1"])
def test_no_address(named: str) -> None:
    with pytest.raises(UsageError, match="is no host"):
        address_of(named)


def test_credentials(tmp_path: Path) -> None:
    asked = Asked("typed")
    given = credentials(None, None, {"HOME": str(tmp_path)}, "pool", asked)
    assert (given.user, given.password) == ("root", "typed")
    assert asked.questions == [("Password of root at pool", True)]
    assert "typed" not in repr(given)
    folder = tmp_path / "folder"
    folder.mkdir()
    for path, words in ((tmp_path / "none", "cannot be read"), (folder, "cannot be read")):
        with pytest.raises(UsageError, match=words):
            credentials(None, path, {}, "pool", asked)
    file = tmp_path / "xe"
    file.write_text("username = me\nserver=x\npassword = pass=word\n")
    file.chmod(0o600)
    given = credentials(None, file, {"XAPI_USER": "env"}, "pool", asked)
    assert (given.user, given.password) == ("env", "pass=word")
