"""A Nova that knows flavors, hypervisors and servers: a server builds when it is asked about, and then is ACTIVE.

By openstack/nova's api-ref: GET / (versions), /flavors, /os-hypervisors/detail, /servers (detail), POST /servers,
GET and DELETE /servers/ID, POST /servers/ID/action os-getConsoleOutput.
"""

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.openstack.neutron import NETWORK

_VERSION = {
    "id": "v2.1", "status": "CURRENT", "version": "2.90", "min_version": "2.1",
    "links": [{"rel": "self", "href": "/compute/v2.1/"}],
}  # fmt: skip
_FLAVOR = {"id": "1", "name": "small", "ram": 512, "disk": 1, "vcpus": 1}


@dataclass
class Nova:
    """`hypervisor` is told to everybody when it is set; `fate` is what becomes of servers after they are built."""

    hypervisor: str = ""
    fate: str = "ACTIVE"
    servers: dict[str, dict[str, Any]] = field(default_factory=dict)

    def clear(self) -> None:
        self.hypervisor, self.fate, self.servers = "", "ACTIVE", {}

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        plain = path.partition("?")[0].strip("/").removeprefix("v2.1").strip("/")
        status, said = self._answer(method, plain.split("/"), json.loads(body or b"{}"))
        return status, b"" if said is None else json.dumps(said).encode()

    def _answer(self, method: str, path: list[str], body: dict[str, Any]) -> tuple[int, Any]:
        if path == [""]:
            return 200, {"version": _VERSION}
        if path[0] == "flavors":
            return self._flavors(path[1:])
        if path[0] == "os-hypervisors":
            return self._hypervisors()
        if path[0] == "servers":
            return self._servers(method, path[1:], body)
        return 404, {"itemNotFound": {"message": "/".join(path)}}

    def _flavors(self, rest: list[str]) -> tuple[int, Any]:
        if rest and rest[0] not in {"detail", _FLAVOR["id"]}:
            return 404, {"itemNotFound": {"message": "no such flavor"}}
        return 200, {"flavor": _FLAVOR} if rest == [_FLAVOR["id"]] else {"flavors": [_FLAVOR]}

    def _hypervisors(self) -> tuple[int, Any]:
        if not self.hypervisor:
            return 403, {"forbidden": {"message": "Policy doesn't allow os-hypervisors:list-detail"}}
        return 200, {"hypervisors": [{"id": "1", "hypervisor_type": self.hypervisor, "hypervisor_hostname": "a"}]}

    def _servers(self, method: str, rest: list[str], body: dict[str, Any]) -> tuple[int, Any]:
        if method == "POST" and not rest:
            return self._create(body["server"])
        if not rest or rest == ["detail"]:
            return 200, {"servers": list(self.servers.values())}
        server = self.servers.get(rest[0])
        if server is None:
            return 404, {"itemNotFound": {"message": "Instance could not be found."}}
        if method == "DELETE":
            del self.servers[rest[0]]
            return 204, None
        if method == "POST":
            return 200, {"output": "Kernel panic - not syncing"}
        seen = dict(server)
        server["status"] = self.fate
        if seen["status"] == "ERROR":
            seen["fault"] = {"message": "No valid host was found.", "code": 500}
        return 200, {"server": seen}

    def _create(self, wanted: dict[str, Any]) -> tuple[int, Any]:
        networks = wanted.get("networks")
        known = networks == "none" or networks == [{"uuid": NETWORK["id"]}]
        if set(wanted) - {"name", "imageRef", "flavorRef", "metadata", "networks"} or not known:
            return 400, {"badRequest": {"message": f"Invalid input: {sorted(wanted)}"}}
        made = {
            "id": str(uuid.uuid4()),
            "status": "BUILD",
            **{name: wanted[name] for name in ("name", "metadata")},
        }
        made["image"], made["flavor"] = {"id": wanted["imageRef"]}, {"id": wanted["flavorRef"]}
        made["asked_networks"] = networks
        self.servers[str(made["id"])] = made
        return 202, {"server": {"id": made["id"]}}
