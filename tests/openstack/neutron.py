"""A Neutron that knows one network. By openstack/neutron-lib's api-ref: GET /v2.0/networks, /v2.0/networks/ID."""

import json
from urllib.parse import parse_qs, urlsplit

NETWORK = {"id": "3e4bb3a5-a1dc-4d2c-b8f0-5f1f4d0e4f37", "name": "lan", "status": "ACTIVE"}


class Neutron:
    """Answers of its network."""

    def answer(self, path: str) -> tuple[int, bytes]:
        parts = urlsplit(path)
        if parts.path == f"/v2.0/networks/{NETWORK['id']}":
            return 200, json.dumps({"network": NETWORK}).encode()
        if parts.path == "/v2.0/networks":
            names = parse_qs(parts.query).get("name", [NETWORK["name"]])
            return 200, json.dumps({"networks": [NETWORK] if NETWORK["name"] in names else []}).encode()
        return 404, b'{"NeutronError": {"type": "NetworkNotFound", "message": "not found", "detail": ""}}'
