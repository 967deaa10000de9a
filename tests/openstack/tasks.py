"""Rackspace's import tasks, in front of the real Glance and Swift: by its published rules and error numbers.

POST /v2/tasks takes `import` alone, `import_from` CONTAINER/OBJECT and one image property, `name`. The object is
then read from the real Swift and judged: a VHD by its footer, made by `tap` (396), not over 40 GB (609), fixed or
dynamic (523), with a UUID (614), without a parent (721); it becomes an image in the real Glance. A task moves when
it is asked.
"""

import http.client
import json
import struct
import threading
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.openstack.configuration import HOST, Ports

_LARGEST = 40 * 10**9
_NUMBERS = {
    396: "not a VHD",
    523: "only fixed and dynamic",
    609: "over 40 GB",
    614: "null UUID",
    721: "has a parent",
}


@dataclass
class Tasks:
    """Those of one cloud. `failures` are numbers that the next tasks fail with; `stuck` ones never end."""

    ports: Ports
    enabled: bool = False
    stuck: bool = False
    failures: list[int] = field(default_factory=list)
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    _read: dict[str, bytes] = field(default_factory=dict)
    """The objects of tasks that have begun."""

    def clear(self) -> None:
        self.enabled, self.stuck, self.failures, self.made = False, False, [], {}

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, bytes]:
        if not self._project(token):
            return 401, b'{"message": "The request you have made requires authentication."}'
        with self.lock:
            status, said = self._answer(method, path.partition("?")[0], body, token)
        return status, json.dumps(said).encode()

    def _answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, dict[str, Any]]:
        name = path.removeprefix("/v2/tasks").strip("/")
        if method == "POST" and not name:
            return self._begin(json.loads(body), token)
        if method == "GET" and not name:
            return 200, {"tasks": list(self.made.values())}
        if method == "GET" and name in self.made:
            return 200, self._moved(self.made[name], token)
        return 404, {"message": "no such task"}

    def _begin(self, wanted: dict[str, Any], token: str) -> tuple[int, dict[str, Any]]:
        given = wanted.get("input", {})
        container, slash, name = str(given.get("import_from", "")).partition("/")
        properties = given.get("image_properties", {})
        if wanted.get("type") != "import" or not (container and slash and name) or set(properties) - {"name"}:
            return 400, {"message": "Invalid request body"}
        if self._swift("HEAD", f"{container}/{name}", token)[0] != 200:
            return 400, {"message": f"no object {container}/{name}"}
        task = {"id": str(uuid.uuid4()), "type": "import", "status": "pending", "input": given, "message": ""}
        self.made[task["id"]] = task
        return 201, task

    def _moved(self, task: dict[str, Any], token: str) -> dict[str, Any]:
        if task["status"] == "pending":
            task["status"] = "processing"
            self._read[task["id"]] = self._swift("GET", task["input"]["import_from"], token)[1]
        elif task["status"] == "processing" and not self.stuck:
            self.end(task, token)
        return task

    def end(self, task: dict[str, Any], token: str) -> None:
        """End a task, with the image that it makes or with an error."""
        given = task["input"]
        data = self._read[task["id"]]
        number = self.failures.pop(0) if self.failures else _judge(data)
        if number:
            task["status"] = "failure"
            task["message"] = f"Image cannot be imported. Error code: '{number}' ({_NUMBERS.get(number, '')})"
            return
        wanted = {"name": given["image_properties"]["name"], "disk_format": "vhd", "container_format": "bare"}
        image = json.loads(self._glance("POST", "/v2/images", json.dumps(wanted).encode(), token))["id"]
        self._glance("PUT", f"/v2/images/{image}/file", data, token)
        task["status"], task["result"] = "success", {"image_id": image}

    def _swift(self, method: str, path: str, token: str) -> tuple[int, bytes]:
        project = self._project(token)
        return self._call(self.ports.swift, method, f"/v1/AUTH_{project}/{path}", None, token)

    def _glance(self, method: str, path: str, body: bytes, token: str) -> bytes:
        status, said = self._call(self.ports.glance, method, path, body, token)
        assert status in {201, 204}, said
        return said

    def _project(self, token: str) -> str:
        status, said = self._call(self.ports.keystone, "GET", "/v3/auth/tokens", None, token)
        return str(json.loads(said)["token"]["project"]["id"]) if status == 200 else ""

    def _call(self, port: int, method: str, path: str, body: bytes | None, token: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, port, timeout=60)
        kind = "application/octet-stream" if path.endswith("/file") else "application/json"
        headers = {"X-Auth-Token": token, "X-Subject-Token": token, "Content-Type": kind}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def _judge(data: bytes) -> int:
    """Return the number of what is wrong with a VHD, 0 for nothing."""
    footer = data[-512:]
    if len(data) < 1024 or footer[:8] != b"conectix" or footer[28:32] != b"tap\0":
        return 396
    total = sum(footer[:64]) + sum(footer[68:])
    if struct.unpack(">I", footer[64:68])[0] != ~total & 0xFFFFFFFF:
        return 396
    if len(data) > _LARGEST:
        return 609
    kind = struct.unpack(">I", footer[60:64])[0]
    if kind == 4:
        return 721
    if kind not in {2, 3}:
        return 523
    return 614 if not footer[68:84].strip(b"\0") else 0
