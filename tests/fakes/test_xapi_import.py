import random
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from imagekit.command import run
from tests.fakes.conftest import MIB, Client, refused
from tests.fakes.vhds import BLOCK, SECTOR, built, by_qemu
from tests.fakes.xapi.settings import XENSERVER_6_5, Machine, Storage

Open = Callable[..., Client]
IO_ERROR = ["VDI_IO_ERROR", "Device I/O errors"]
TWO = (Machine("master", "127.0.0.1"), Machine("other", "127.0.0.2"))


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)  # noqa: S311 -- no secret


def test_raw_is_stored_as_it_came(client: Open) -> None:
    one = client()
    vdi = one.vdi(8 * MIB)
    data = noise(3 * MIB + 1024)
    record = one.put(vdi, data)
    assert (record["status"], record["progress"]) == ("success", 1.0)
    assert record["result"] == f"<value>{vdi}</value>"
    assert one.pool.disk(vdi).read_bytes() == data.ljust(8 * MIB, b"\0")
    one.api.VDI.destroy(vdi)
    assert one.pool.left() == {"session": 1}


def test_a_vdi_is_named_by_its_uuid_too(client: Open) -> None:
    one = client()
    vdi = one.vdi()
    assert one.put(one.api.VDI.get_uuid(vdi), b"a" * SECTOR)["status"] == "success"
    assert one.pool.disk(vdi).read_bytes()[:SECTOR] == b"a" * SECTOR


def test_zeros_overwrite_what_was_there(client: Open) -> None:
    one = client()
    vdi = one.vdi()
    one.put(vdi, noise(4 * MIB))
    one.put(vdi, bytes(4 * MIB))
    assert not one.pool.disk(vdi).read_bytes().strip(b"\0")


@pytest.mark.parametrize("size", [SECTOR, 2 * MIB, 5 * MIB + 1536, 4 * MIB])
def test_qemus_vhd_is_the_disk_it_was_made_of(client: Open, tmp_path: Path, size: int) -> None:
    raw = tmp_path / "disk.raw"
    raw.write_bytes(noise(size))
    one = client()
    vdi = one.vdi(size)
    record = one.put(vdi, by_qemu(raw), "vhd")
    assert record["status"] == "success", record
    assert one.pool.disk(vdi).read_bytes()[:size] == raw.read_bytes()
    assert one.pool.complaints == []


def test_a_vhds_blocks_may_lie_in_any_order(client: Open) -> None:
    one = client()
    vdi = one.vdi(10 * MIB)
    blocks = {index: noise(BLOCK - index) for index in (0, 2, 4)}
    assert one.put(vdi, built(10 * MIB, blocks, order=[4, 0, 2]), "vhd")["status"] == "success"
    disk = one.pool.disk(vdi).read_bytes()
    assert all(disk[index * BLOCK :][: len(data)] == data for index, data in blocks.items())
    assert not disk[BLOCK : 2 * BLOCK].strip(b"\0")
    assert one.pool.disk(vdi).stat().st_blocks * 512 <= 3 * BLOCK + 4096
    assert one.pool.complaints == []


def test_only_sectors_with_their_bit_set_are_written(client: Open) -> None:
    one = client()
    vdi = one.vdi(2 * MIB)
    one.put(vdi, b"o" * 2 * MIB)
    bits = bytearray(SECTOR)
    bits[0] = 0b01100000
    vhd = built(2 * MIB, {0: b"n" * BLOCK}, kind=4, bitmaps={0: bytes(bits)}, batmap=False, creator=b"qemu")
    assert one.put(vdi, vhd, "vhd")["status"] == "success"
    disk = one.pool.disk(vdi).read_bytes()
    assert disk == b"o" * SECTOR + b"n" * 2 * SECTOR + b"o" * (2 * MIB - 3 * SECTOR)


GOOD = built(4 * MIB, {0: b"a" * BLOCK, 1: b"b" * BLOCK})


def flipped(at: int) -> bytes:
    return GOOD[:at] + bytes([GOOD[at] ^ 1]) + GOOD[at + 1 :]


@pytest.mark.parametrize(
    "data",
    [
        noise(8192),
        b"",
        GOOD[:1000],
        GOOD[: BLOCK + 5000],
        GOOD[:-512],
        GOOD[:-512] + noise(512),
        flipped(0),  # cookie
        flipped(70),  # UUID, so the checksum
        flipped(512 + 1000),  # reserved, so the header's
        flipped(1536),  # an offset in the table
        built(8 * MIB, {3: b"x" * BLOCK}),
    ],
    ids=[
        "noise",
        "empty",
        "head",
        "cut",
        "no-footer",
        "other-footer",
        "cookie",
        "footer",
        "header",
        "table",
        "larger",
    ],
)
def test_what_is_no_vhd_fails_the_task_alone(client: Open, data: bytes) -> None:
    one = client()
    record = one.put(one.vdi(4 * MIB), data, "vhd")
    assert (record["status"], record["error_info"]) == ("failure", IO_ERROR)


@pytest.mark.parametrize(
    "data, words",
    [
        (built(4 * MIB, {0: b"x"}, batmap=False), "batmap"),
        (built(4 * MIB, {0: b"x"}, last=built(6 * MIB, {})[:512]), "footer"),
        (built(6 * MIB, {0: b"x"}), "VDI of 4194304"),
        (GOOD[:-512] + bytes(8192) + GOOD[-512:], "8192 bytes between"),
    ],
    ids=["no-batmap", "other-footer", "larger-without-data", "gap"],
)
def test_what_vhd_tool_overlooks_is_a_complaint(client: Open, data: bytes, words: str) -> None:
    one = client()
    assert one.put(one.vdi(4 * MIB), data, "vhd")["status"] == "success"
    [complaint] = one.pool.complaints
    assert words in complaint


def test_raw_longer_than_the_vdi(client: Open) -> None:
    one = client()
    assert one.put(one.vdi(2 * MIB), noise(4 * MIB))["error_info"] == IO_ERROR


def test_an_old_host_reads_to_the_end_of_its_block(client: Open) -> None:
    one = client(product=XENSERVER_6_5)
    vdi = one.vdi(4 * MIB)
    assert one.put(vdi, noise(MIB))["error_info"] == IO_ERROR
    assert one.put(vdi, noise(MIB) + bytes(MIB))["status"] == "success"


@pytest.mark.parametrize("more", [{"Content-Length": "512"}, {}])
def test_a_transfer_encoding_is_404_and_a_failed_task(client: Open, more: dict[str, str]) -> None:
    one = client()
    task = one.api.task.create("import", "")
    query = {"session_id": one.session.handle, "task_id": task, "vdi": one.vdi()}
    made, head = one.request("/import_raw_vdi", {"Transfer-Encoding": "chunked", **more}, **query)
    made.close()
    assert head.startswith(b"HTTP/1.1 404 ")
    assert one.ended(task)["error_info"] == ["INTERNAL_ERROR", "Cannot handle encoding: chunked"]


def test_expect_is_ignored_and_200_comes_before_the_body(client: Open) -> None:
    one = client()
    task = one.api.task.create("import", "")
    query = {"session_id": one.session.handle, "task_id": task, "vdi": one.vdi()}
    made, head = one.request("/import_raw_vdi", {"Expect": "100-continue", "Content-Length": "512"}, **query)
    with made:
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert f"task-id: {task}".encode() in head
        assert b"content-length" not in head.lower()
        assert one.api.task.get_status(task) == "pending"
        assert refused("VDI_IN_USE", one.api.VDI.destroy, query["vdi"]) == [query["vdi"], "destroy"]
        made.sendall(b"a" * 512)
        assert made.recv(100) == b""
    assert one.ended(task)["status"] == "success"


def test_after_a_failure_more_heads_follow_the_200(client: Open) -> None:
    one = client()
    query = {"session_id": one.session.handle, "vdi": one.vdi(), "format": "vhd"}
    made, _ = one.request("/import_raw_vdi", {"Content-Length": "1024"}, **query)
    with made:
        made.sendall(bytes(1024))
        rest = b"".join(iter(lambda: made.recv(4096), b""))
    assert rest.startswith(b"HTTP/1.1 400 ")
    assert b"HTTP/1.1 500 " in rest


def test_a_stranger_is_401(client: Open) -> None:
    one = client()
    task = one.api.task.create("import", "")
    query = {"session_id": "OpaqueRef:none", "task_id": task, "vdi": one.vdi()}
    made, head = one.request("/import_raw_vdi", {"Content-Length": "512"}, **query)
    made.close()
    assert head.startswith(b"HTTP/1.1 401 ")
    assert one.ended(task)["error_info"] == ["SESSION_AUTHENTICATION_FAILED"]


@pytest.mark.parametrize(
    "query, status, error",
    [
        ({"vdi": "none"}, 500, None),
        ({}, 400, ["VDI_MISSING"]),
        ({"format": "qcow3", "vdi": ""}, 404, ["INTERNAL_ERROR", "Unknown format qcow3"]),
    ],
)
def test_wrong_queries(client: Open, query: dict[str, str], status: int, error: list[str] | None) -> None:
    one = client()
    task = one.api.task.create("import", "")
    given = {"session_id": one.session.handle, "task_id": task} | query
    if "format" in query:
        given["vdi"] = one.vdi()
    made, head = one.request("/import_raw_vdi", {"Content-Length": "512"}, **given)
    made.close()
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    if error:
        assert one.ended(task)["error_info"] == error
    else:
        assert one.api.task.get_status(task) == "pending"  # xapi tells nobody


def test_an_sr_at_another_host_is_302_to_it(client: Open) -> None:
    one = client(hosts=TWO, storage=(Storage("Local storage", host=1),))
    vdi = one.vdi()
    task = one.api.task.create("import", "")
    query = {"session_id": one.session.handle, "task_id": task, "vdi": vdi, "format": "raw"}
    made, head = one.request("/import_raw_vdi", {"Content-Length": "512"}, **query)
    made.close()
    assert head.startswith(b"HTTP/1.1 302 ")
    where = urlsplit(head.decode().split("location: ")[1].split("\r\n")[0])
    assert (where.hostname, where.port, where.path) == ("127.0.0.2", one.pool.port, "/import_raw_vdi")
    assert {name: value for name, [value] in parse_qs(where.query).items()} == query
    made, head = one.request("/import_raw_vdi", {"Content-Length": "512"}, host=1, **query)
    with made:
        made.sendall(b"a" * 512)
        assert made.recv(10) == b""
    assert one.ended(task)["status"] == "success"
    assert one.pool.identities[0].fingerprint != one.pool.identities[1].fingerprint


@pytest.mark.parametrize(
    "storage, more",
    [
        (Storage("Local storage", type="lvm", vhd=False), {}),
        (Storage("Local storage", type="lvm"), {"type": "raw"}),
    ],
)
def test_a_logical_volume_without_vhd_takes_raw_only(client: Open, storage: Storage, more: dict[str, str]) -> None:
    one = client(storage=(storage,))
    vdi = one.vdi(sm_config=more)
    assert one.put(vdi, GOOD, "vhd")["error_info"] == IO_ERROR
    assert one.put(vdi, noise(MIB))["status"] == "success"


def test_a_thick_sr_is_full_when_a_vdi_is_made(client: Open) -> None:
    one = client(storage=(Storage("Local storage", type="lvm", size=10 * MIB),))
    one.vdi(6 * MIB)
    refused("SR_BACKEND_FAILURE_44", one.vdi, 6 * MIB)
    assert one.api.SR.get_physical_utilisation(one.sr()) == str(6 * MIB)


def test_a_thin_sr_is_full_when_it_is_written(client: Open) -> None:
    one = client(storage=(Storage("Local storage", size=4 * MIB),))
    vdi = one.vdi(64 * MIB)
    assert one.put(vdi, noise(8 * MIB))["error_info"] == IO_ERROR
    assert one.put(vdi, noise(2 * MIB))["status"] == "success"


def test_sizes(client: Open) -> None:
    one = client()
    assert one.api.VDI.get_virtual_size(one.vdi(1)) == str(2 * MIB)
    assert one.api.VDI.get_virtual_size(one.vdi(2040 << 30)) == str(2040 << 30)
    refused("SR_BACKEND_FAILURE_79", one.vdi, (2040 << 30) + 1)
    vdi = one.vdi(2 * MIB)
    one.api.VDI.resize(vdi, str(5 * MIB))
    assert one.pool.disk(vdi).stat().st_size == 6 * MIB
    refused("SR_BACKEND_FAILURE_79", one.api.VDI.resize, vdi, str(MIB))


def test_an_aborted_import_keeps_its_vdi_a_moment(client: Open) -> None:
    one = client(release_after=0.3)
    vdi = one.vdi()
    task = one.api.task.create("import", "")
    query = {"session_id": one.session.handle, "task_id": task, "vdi": vdi}
    made, _ = one.request("/import_raw_vdi", {"Content-Length": str(4 * MIB)}, **query)
    made.sendall(bytes(MIB))
    made.close()
    refused("VDI_IN_USE", one.api.VDI.destroy, vdi)
    started = time.monotonic()
    assert one.ended(task)["error_info"] == IO_ERROR
    assert time.monotonic() - started < 5
    one.api.VDI.destroy(vdi)
    assert one.pool.left() == {"session": 1}


@pytest.mark.parametrize("form", ["raw", "vhd"])
def test_a_disk_is_exported_as_it_is(client: Open, tmp_path: Path, form: str) -> None:
    one = client()
    data = noise(MIB) + bytes(3 * MIB) + noise(2 * MIB)
    vdi = one.vdi(6 * MIB)
    one.put(vdi, data)
    task = one.api.task.create("export", "")
    query = {"session_id": one.session.handle, "task_id": task, "vdi": vdi, "format": form}
    made, head = one.request("/export_raw_vdi", {}, **query)
    with made:
        assert head.startswith(b"HTTP/1.1 200 OK")
        got = tmp_path / f"disk.{form}"
        got.write_bytes(b"".join(iter(lambda: made.recv(1 << 16), b"")))
    assert one.ended(task)["status"] == "success"
    if form == "vhd":
        raw = tmp_path / "raw"
        source = f"driver=vpc,force_size_calc=current_size,file.filename={got}"
        run("qemu-img", "convert", "--image-opts", source, "-O", "raw", raw)
        got = raw
    assert got.read_bytes()[: len(data)] == data


def test_a_client_that_trusts_another_certificate_does_not_connect(client: Open) -> None:
    one = client(hosts=TWO)
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.get_server_certificate(("127.0.0.1", one.pool.port), ca_certs=str(one.pool.identities[1].pem))
