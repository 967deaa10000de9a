# ruff: noqa: ANN401 -- XenAPI has no types
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import XenAPI

from tests.fakes.conftest import Client, Pools, refused
from tests.fakes.xapi.settings import XENSERVER_6_5, Machine, Storage

Open = Callable[..., Client]


def post(one: Client, path: str, body: bytes) -> tuple[int, Any]:
    request = urllib.request.Request(one.pool.url + path, body)  # noqa: S310 -- https
    try:
        with urllib.request.urlopen(request, context=one.context) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


def call(one: Client, name: str, *params: Any, new: bool = True) -> Any:
    asked = {"method": name, "params": params, "id": 7} | ({"jsonrpc": "2.0"} if new else {})
    status, answer = post(one, "/jsonrpc", json.dumps(asked).encode())
    assert (status, answer["id"]) == (200, 7)
    return answer


def test_the_certificate_is_the_hosts_own(pools: Pools) -> None:
    pool = pools()
    seen = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", pool.port)))
    assert ssl.PEM_cert_to_DER_cert(pool.ca_pem.read_text()) == seen


def test_integers_are_strings_and_dates_are_dates_in_xml(client: Open) -> None:
    one = client()
    record = one.api.SR.get_record(one.sr())
    assert record["physical_size"] == str(100 << 30)
    task = one.api.task.get_record(one.api.task.create("a task", "of ours"))
    created = datetime.strptime(task["created"].value, "%Y%m%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - created) < timedelta(minutes=5)
    assert task["finished"].value == "19700101T00:00:00Z"


def test_json_has_integers_and_errors_of_both_versions(client: Open) -> None:
    one = client()
    session = one.session.handle
    sr = one.sr()
    assert call(one, "SR.get_physical_size", session, sr)["result"] == 100 << 30
    assert call(one, "SR.get_physical_size", session, sr, new=False)["result"] == 100 << 30
    assert call(one, "SR.get_uuid", session, "x")["error"] == {
        "code": 1,
        "message": "HANDLE_INVALID",
        "data": ["SR", "x"],
    }
    assert call(one, "SR.get_uuid", session, "x", new=False)["error"] == ["HANDLE_INVALID", "SR", "x"]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"method": "x"}'])
def test_what_is_no_call_is_an_error_of_http(client: Open, body: bytes) -> None:
    assert post(client(), "/jsonrpc", body)[0] == 500


def test_a_call_has_300_kib(client: Open) -> None:
    one = client()
    task = one.api.task.create("a" * (299 * 1024), "")
    assert len(one.api.task.get_name_label(task)) == 299 * 1024
    with one.connect() as made:
        made.sendall(b"POST / HTTP/1.1\r\nContent-Length: 307201\r\n\r\n")
        assert made.recv(1 << 16).startswith(b"HTTP/1.1 500 ")


def test_names_and_counts_of_parameters_are_checked(client: Open) -> None:
    one = client()
    assert refused("MESSAGE_METHOD_UNKNOWN", one.api.VDI.conjure) == ["VDI.conjure"]
    assert refused("MESSAGE_PARAMETER_COUNT_MISMATCH", one.api.VDI.get_uuid) == ["VDI.get_uuid", "1", "0"]
    assert refused("MESSAGE_PARAMETER_COUNT_MISMATCH", one.api.VDI.get_uuid, "a", "b") == [
        "VDI.get_uuid",
        "1",
        "2",
    ]
    assert refused("NOT_IMPLEMENTED", one.api.VDI.snapshot, "a") == ["VDI.snapshot"]
    assert one.api.VDI_get_all() == []


def test_constructors_want_their_fields_and_types(client: Open) -> None:
    one = client()
    given = {"SR": one.sr(), "virtual_size": "1", "type": "user", "sharable": False, "read_only": False}
    assert refused("INTERNAL_ERROR", one.api.VDI.create, given) == [
        'Server_helpers.Dispatcher_FieldNotFound("other_config")'
    ]
    whole: dict[str, Any] = given | {"other_config": {}}
    for name, wrong in (
        ("virtual_size", "4 GiB"),
        ("virtual_size", True),
        ("sharable", "false"),
        ("type", "floppy"),
        ("other_config", []),
        ("other_config", {"a": 1}),
        ("SR", 1),
    ):
        refused("INTERNAL_ERROR", one.api.VDI.create, whole | {name: wrong})
    refused("INTERNAL_ERROR", one.api.VDI.create, "no record")
    assert not one.pool.complaints
    assert one.api.VDI.create(whole | {"type": "User", "colour": "red"})
    assert one.pool.complaints == ["VDI.create: no field colour"]


def test_sessions(client: Open) -> None:
    one = client()
    wrong = XenAPI.Session(one.pool.url, transport=one.session.transport)
    assert refused("SESSION_AUTHENTICATION_FAILED", wrong.login_with_password, "root", "guess")[0] == "root"
    one.pool.expire()
    answer = call(one, "pool.get_all", one.session.handle)
    assert answer["error"]["message"] == "SESSION_INVALID"
    assert one.api.pool.get_all()  # XenAPI logs in again by itself
    one.api.session.logout()
    assert one.pool.left() == {}


def test_a_slave_names_the_master_with_no_brackets_and_no_port(pools: Pools) -> None:
    pool = pools(hosts=(Machine("master", "::1"), Machine("slave", "127.0.0.1")))
    slave = ssl.create_default_context(cafile=str(pool.identities[1].pem))
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "session.login_with_password", "params": ["a", "b"]})
    request = urllib.request.Request(f"{pool.host_url(1)}/jsonrpc", body.encode())  # noqa: S310 -- https
    with urllib.request.urlopen(request, context=slave) as answer:  # noqa: S310
        assert json.loads(answer.read())["error"] == {"code": 1, "message": "HOST_IS_SLAVE", "data": ["::1"]}
    master = Client(pool)
    assert pool.url.startswith("https://[::1]:")
    assert len(master.api.host.get_all()) == 2
    master.close()


def test_fields_are_read_and_changed_by_their_access(client: Open) -> None:
    one = client()
    vdi = one.vdi()
    one.api.VDI.add_to_other_config(vdi, "imagekit", "digest")
    assert refused("MAP_DUPLICATE_KEY", one.api.VDI.add_to_other_config, vdi, "imagekit", "again") == [
        "VDI",
        "other_config",
        vdi,
        "imagekit",
    ]
    one.api.VDI.remove_from_other_config(vdi, "imagekit")
    one.api.VDI.remove_from_other_config(vdi, "imagekit")
    assert one.api.VDI.get_other_config(vdi) == {}
    one.api.VDI.add_tags(vdi, "a")
    one.api.VDI.add_tags(vdi, "a")
    assert one.api.VDI.get_tags(vdi) == ["a"]
    one.api.VDI.set_name_label(vdi, "other")
    assert one.api.VDI.get_by_name_label("other") == [vdi]
    assert one.api.VDI.get_by_uuid(one.api.VDI.get_uuid(vdi)) == vdi
    assert refused("UUID_INVALID", one.api.VDI.get_by_uuid, "none") == ["VDI", "none"]
    assert refused("HANDLE_INVALID", one.api.VDI.get_record, "OpaqueRef:NULL") == ["VDI", "OpaqueRef:NULL"]
    refused("MESSAGE_METHOD_UNKNOWN", one.api.VDI.set_virtual_size, vdi, "1")
    assert one.api.SR.get_VDIs(one.sr()) == [vdi]
    assert set(one.api.VDI.get_all_records()) == {vdi}


def test_a_release_knows_what_its_time_knew(client: Open) -> None:
    one = client(product=XENSERVER_6_5)
    vm = one.vm()
    assert "domain_type" not in one.api.VM.get_record(vm)
    refused("MESSAGE_METHOD_UNKNOWN", one.api.VM.set_domain_type, vm, "pv")
    software = one.api.host.get_software_version(one.api.host.get_all()[0])
    assert (software["product_brand"], software["product_version"]) == ("XenServer", "6.5.0")


@pytest.mark.parametrize("label, reference", [("", "OpaqueRef:NULL"), ("gone", "OpaqueRef:dangling")])
def test_the_default_sr_may_be_none_or_gone(client: Open, label: str, reference: str) -> None:
    one = client(default_sr=label)
    default = one.api.pool.get_default_SR(one.api.pool.get_all()[0])
    assert default == reference
    refused("HANDLE_INVALID", one.api.SR.get_uuid, default)


def test_networks_by_label_and_bridge(client: Open) -> None:
    one = client()
    [(ref, record)] = one.api.network.get_all_records().items()
    assert record["bridge"] == "xenbr0"
    assert one.api.network.get_by_name_label(record["name_label"]) == [ref]


def test_async_calls_answer_with_a_task(client: Open) -> None:
    one = client()
    vdi = one.vdi()
    record = one.ended(one.api.Async.VDI.destroy(vdi))
    assert (record["status"], record["result"]) == ("success", "")
    given = {"SR": one.sr(), "virtual_size": "1", "type": "user", "sharable": False, "read_only": False}
    record = one.ended(one.api.Async.VDI.create(given | {"other_config": {}}))
    [made] = one.pool.vdis()
    assert record["result"] == f"<value>{made['ref']}</value>"
    one.api.VDI.destroy(made["ref"])
    record = one.ended(one.api.Async.VM.clone("OpaqueRef:NULL", "x"))
    assert (record["status"], record["error_info"]) == ("failure", ["HANDLE_INVALID", "VM", "OpaqueRef:NULL"])
    refused("Fault", one.api.Async.VDI.get_uuid, made["ref"])


def test_a_pending_task_is_destroyed_when_it_ends(client: Open) -> None:
    one = client()
    task = one.api.task.create("a", "b")
    one.api.task.destroy(task)
    assert one.api.task.get_current_operations(task) == {"task": "destroy"}
    one.put(one.vdi(), b"a" * 512)
    one.api.task.set_status(task, "success")
    one.api.task.destroy(task)
    assert one.pool.tasks() == []


def test_events_tell_what_changed(client: Open) -> None:
    one = client()
    since = getattr(one.api.event, "from")
    first = since(["VDI"], "", 0.1)
    assert first["events"] == []
    vdi = one.vdi()
    second = since(["VDI"], first["token"], 5.0)
    assert [(each["operation"], each["ref"], each["class"]) for each in second["events"]] == [("add", vdi, "vdi")]
    assert second["events"][0]["snapshot"]["virtual_size"] == str(4 << 20)
    one.api.VDI.destroy(vdi)
    third = since(["VDI"], second["token"], 5.0)
    assert [(each["operation"], each["ref"]) for each in third["events"]] == [("del", vdi)]


def test_xml_that_is_none_is_an_error_of_http(client: Open) -> None:
    one = client()
    assert post(one, "/", b"<methodCall>")[0] == 500


def test_an_iso_library_takes_no_disk(client: Open) -> None:
    one = client(storage=(Storage("Local storage"), Storage("isos", type="iso", content_type="iso")))
    refused("SR_OPERATION_NOT_SUPPORTED", one.vdi, 1, one.sr("isos"))
