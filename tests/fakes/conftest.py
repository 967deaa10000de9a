"""Servers that stand in for systems no test can have, and a client of theirs."""

# ruff: noqa: ANN401 -- XenAPI has no types

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xmlrpc.client import SafeTransport

import pytest
import XenAPI

from tests.fakes.xapi.pool import Pool
from tests.fakes.xapi.settings import Settings

Pools = Callable[..., Pool]
MIB = 1 << 20


class Client:
    """A session by PyPI's XenAPI, and PUTs by a bare TLS socket, as the most patient client makes them."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.context = ssl.create_default_context(cafile=str(pool.ca_pem))
        self.session = XenAPI.Session(pool.url, transport=SafeTransport(context=self.context))
        self.session.login_with_password(pool.settings.user, pool.settings.password, "1.0", "tests")
        self.api = self.session.xenapi

    def close(self) -> None:
        self.session("close")()

    def sr(self, name: str = "Local storage") -> str:
        return str(self.api.SR.get_by_name_label(name)[0])

    def vdi(self, size: int = 4 * MIB, sr: str = "", **more: Any) -> str:
        given = {"name_label": "disk", "SR": sr or self.sr(), "virtual_size": str(size), "type": "user"}
        flags = {"sharable": False, "read_only": False, "other_config": {}}
        return str(self.api.VDI.create(given | flags | more))

    def connect(self, host: int = 0) -> ssl.SSLSocket:
        address = self.pool.settings.hosts[host].address
        context = ssl.create_default_context(cafile=str(self.pool.identities[host].pem))
        plain = socket.create_connection((address, self.pool.port), timeout=20)
        return context.wrap_socket(plain, server_hostname=address)

    def request(
        self, path: str, headers: dict[str, str], host: int = 0, **query: str
    ) -> tuple[ssl.SSLSocket, bytes]:
        """Send a head and read the head of the answer."""
        made = self.connect(host)
        lines = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "xapi", **headers}.items())
        method = {"/export_raw_vdi": "GET", "/console": "CONNECT"}.get(path, "PUT")
        made.sendall(f"{method} {path}?{urlencode(query)} HTTP/1.1\r\n{lines}\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head and (got := made.recv(1)):
            head += got
        return made, head

    def put(self, vdi: str, data: bytes, form: str = "raw", **query: str) -> dict[str, Any]:
        """Import, wait for the task, destroy it; return its record."""
        task = self.api.task.create("import", "")
        given = {"session_id": self.session.handle, "task_id": task, "vdi": vdi, "format": form, **query}
        made, head = self.request("/import_raw_vdi", {"Content-Length": str(len(data))}, **given)
        with made:
            assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
            try:
                made.sendall(data)
            except OSError:
                assert self.api.task.get_status(task) != "success"
        return self.ended(task)

    def ended(self, task: str) -> dict[str, Any]:
        until = time.monotonic() + 20
        while (record := self.api.task.get_record(task))["status"] == "pending":
            assert time.monotonic() < until
            time.sleep(0.02)
        self.api.task.destroy(task)
        return dict(record)

    def vm(self, **more: Any) -> str:
        """VM.create with all that it asks for."""
        memory = {f"memory_{name}": str(64 * MIB) for name in ("static_max", "dynamic_max", "dynamic_min")}
        texts = ("PV_kernel", "PV_ramdisk", "PV_args", "PV_bootloader_args", "PV_legacy_args", "PCI_bus")
        given = {
            "name_label": "vm",
            "user_version": "1",
            "is_a_template": False,
            "affinity": "OpaqueRef:NULL",
            "memory_static_min": "0",
            **memory,
            "VCPUs_params": {},
            "VCPUs_max": "1",
            "VCPUs_at_startup": "1",
            "actions_after_shutdown": "destroy",
            "actions_after_reboot": "restart",
            "actions_after_crash": "destroy",
            "PV_bootloader": "pygrub",
            **dict.fromkeys(texts, ""),
            "HVM_boot_policy": "",
            "HVM_boot_params": {},
            "platform": {},
            "other_config": {},
            "recommendations": "",
        }
        return str(self.api.VM.create(given | more))

    def vbd(self, vm: str, vdi: str, **more: Any) -> str:
        given = {"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW", "type": "Disk"}
        rest = {"empty": False, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}}
        return str(self.api.VBD.create(given | rest | more))


def refused(code: str, call: Callable[..., Any], *args: Any) -> list[str]:
    """Return the parameters of the failure that a call must meet."""
    with pytest.raises(XenAPI.Failure) as caught:
        call(*args)
    details = list(caught.value.details)
    assert details[0] == code, details
    return details[1:]


@pytest.fixture
def pools(tmp_path: Path) -> Iterator[Pools]:
    """Return a function that opens a pool with xapi: pools(product=XCP_NG_8_2, faults=(…,))."""
    with ExitStack() as stack:
        number = iter(range(100))

        def make(**settings: object) -> Pool:
            made = Settings(**settings)  # type: ignore[arg-type]
            return stack.enter_context(Pool(tmp_path / f"pool-{next(number)}", made))

        yield make


@pytest.fixture
def client(pools: Pools) -> Iterator[Callable[..., Client]]:
    """Return a function that opens a pool and logs in."""
    with ExitStack() as stack:

        def make(**settings: object) -> Client:
            made = Client(pools(**settings))
            stack.callback(made.close)
            return made

        yield make
