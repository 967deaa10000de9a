import http.client
import time
import xmlrpc.client
from collections.abc import Callable
from contextlib import suppress
from xml.parsers.expat import ExpatError

import pytest

from tests.fakes.conftest import MIB, Client, Pools, refused
from tests.fakes.xapi.faults import Fault, Script

Open = Callable[..., Client]


@pytest.mark.parametrize(
    "line", ["VDI.create", "VDI.create x SR_FULL", "VDI.create 0 500", "VDI.create 2-1 500", "VDI.create 1 smoke"]
)
def test_lines_that_are_none(line: str) -> None:
    with pytest.raises(ValueError, match=r"VDI\.create"):
        Fault.parse(line)


def test_calls_count_from_where_a_fault_is_added() -> None:
    script = Script(["a 2 500", "* 5 reset"])
    assert [script.next("a").kind for _ in range(3)] == ["", "500", ""]
    script.add("a 1 503")
    assert [script.next("a").kind, script.next("b").kind] == ["503", "reset"]


def test_any_call_fails_with_any_error(client: Open) -> None:
    one = client(faults=("VDI.create 1 SR_FULL:10,5", "VDI.create 2 HOST_OFFLINE"))
    assert refused("SR_FULL", one.vdi) == ["10", "5"]
    assert refused("HOST_OFFLINE", one.vdi) == []
    one.vdi()
    assert [(each.name, each.result, each.fault) for each in one.pool.calls if each.name == "VDI.create"] == [
        ("VDI.create", "SR_FULL", "code"),
        ("VDI.create", "HOST_OFFLINE", "code"),
        ("VDI.create", "ok", ""),
    ]


@pytest.mark.parametrize(
    "kind, error, made",
    [
        ("500", xmlrpc.client.ProtocolError, 0),
        ("503", xmlrpc.client.ProtocolError, 0),
        ("truncated", ExpatError, 1),
    ],
)
def test_a_call_is_done_or_not_when_its_answer_is_missing(
    client: Open, kind: str, error: type[Exception], made: int
) -> None:
    one = client()
    sr = one.sr()
    one.pool.fault(f"VDI.create 1 {kind}")
    with pytest.raises(error):
        one.vdi(sr=sr)
    assert len(one.pool.vdis()) == made


def test_a_kept_connection_may_be_stale(client: Open) -> None:
    one = client(faults=("VDI.get_record 1 close", "VDI.get_record 2 stale"))
    vdi = one.vdi()
    one.api.VDI.get_record(vdi)
    one.api.VDI.get_record(vdi)
    assert one.pool.connections == 2
    time.sleep(0.1)
    with suppress(OSError):  # of TLS, xmlrpc.client sometimes sees that it is stale, and sometimes not
        one.api.VDI.get_record(vdi)
    one.api.VDI.get_record(vdi)
    assert one.pool.connections == 3


@pytest.mark.parametrize("kind", ["reset", "lost"])
def test_python_may_send_a_call_twice(client: Open, kind: str) -> None:
    """xmlrpc.client does, where it takes the end for a stale connection; a call that was done is done again."""
    one = client()
    sr = one.sr()
    one.pool.fault(f"VDI.create 1 {kind}")
    with suppress(OSError):
        one.vdi(sr=sr)
    calls = one.pool.names().count("VDI.create")
    assert len(one.pool.vdis()) == (calls if kind == "lost" else calls - 1)


def test_a_session_expires(client: Open) -> None:
    one = client()
    vdi = one.vdi()
    one.pool.fault("* 2 expire")
    for _ in range(3):
        assert one.api.VDI.get_uuid(vdi)
    assert one.pool.names().count("session.login_with_password") == 2


def test_slow_and_hanging_answers(client: Open) -> None:
    one = client(faults=("pool.get_all 1 slow",))
    started = time.monotonic()
    one.api.pool.get_all()
    assert 0.9 < time.monotonic() - started < 5
    one.pool.fault("import_raw_vdi 1 hang")
    made = one.connect()
    made.settimeout(0.3)
    made.sendall(b"PUT /import_raw_vdi HTTP/1.1\r\n\r\n")
    with made, pytest.raises(TimeoutError):
        made.recv(1)


def test_an_import_is_cut_after_so_many_bytes(client: Open) -> None:
    one = client(release_after=0.1)
    vdi = one.vdi()
    one.pool.fault(f"import_raw_vdi 1 cut={MIB}")
    record = one.put(vdi, b"a" * 4 * MIB)
    assert record["error_info"] == ["VDI_IO_ERROR", "Device I/O errors"]
    assert one.put(vdi, b"a" * 4 * MIB)["status"] == "success"
    one.api.VDI.destroy(vdi)
    assert one.pool.left() == {"session": 1}


def test_an_import_stalls(client: Open) -> None:
    one = client(release_after=0.1)
    one.pool.fault(f"import_raw_vdi 1 stall={MIB}")
    task = one.api.task.create("import", "")
    query = {"session_id": one.session.handle, "task_id": task, "vdi": one.vdi()}
    made, _ = one.request("/import_raw_vdi", {"Content-Length": str(2 * MIB)}, **query)
    made.sendall(bytes(2 * MIB))
    time.sleep(0.1)
    assert one.api.task.get_status(task) == "pending"
    made.close()
    assert one.ended(task)["status"] == "failure"


def test_lies_and_late_failures(client: Open) -> None:
    one = client()
    vdi = one.vdi()
    one.pool.fault(
        f"import_raw_vdi 1 lie={MIB}", "import_raw_vdi 2 late=SR_FULL:1,2", "import_raw_vdi 3 VDI_IO_ERROR:x"
    )
    assert one.put(vdi, b"a" * 4 * MIB)["status"] == "success"
    assert one.pool.disk(vdi).read_bytes() == b"a" * MIB + bytes(3 * MIB)
    assert one.put(vdi, b"a" * 4 * MIB)["error_info"] == ["SR_FULL", "1", "2"]
    assert one.put(vdi, b"a" * 512)["error_info"] == ["VDI_IO_ERROR", "x"]


def test_a_task_that_never_ends(client: Open) -> None:
    one = client(faults=("import_raw_vdi 1 pending",))
    vdi = one.vdi()
    task = one.api.task.create("import", "")
    query = {"session_id": one.session.handle, "task_id": task, "vdi": vdi}
    made, _ = one.request("/import_raw_vdi", {"Content-Length": "512"}, **query)
    with made:
        made.sendall(b"a" * 512)
        assert made.recv(1) == b""
    assert one.api.task.get_status(task) == "pending"
    one.api.task.cancel(task)
    assert one.api.task.get_status(task) == "pending"
    one.api.VDI.destroy(vdi)
    assert one.pool.left() == {"task": 1, "session": 1}


def test_redirects_in_a_circle(client: Open) -> None:
    one = client(faults=("import_raw_vdi 1-9 redirect",))
    query = {"session_id": one.session.handle, "vdi": one.vdi()}
    made, head = one.request("/import_raw_vdi", {"Content-Length": "512"}, **query)
    made.close()
    assert head.startswith(b"HTTP/1.1 302 ")
    assert f"location: {one.pool.url}/import_raw_vdi?" in head.decode()


def test_latency_and_the_log(pools: Pools) -> None:
    pool = pools(latency=0.05)
    one = Client(pool)
    started = time.monotonic()
    one.api.pool.get_all()
    assert time.monotonic() - started >= 0.05
    one.close()
    assert pool.names() == ["session.login_with_password", "pool.get_all"]
    assert pool.connections == 1


def test_closing_ends_what_hangs(pools: Pools) -> None:
    pool = pools(faults=("pool.get_all 1 hang",))
    one = Client(pool)
    made = one.connect()
    made.sendall(b"PUT /import_raw_vdi HTTP/1.1\r\n")
    pool.close()
    with pytest.raises((OSError, http.client.HTTPException)):
        one.api.pool.get_all()
    made.close()
    one.close()
