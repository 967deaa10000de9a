"""A real cloud with a gate in front of it, and artifacts for it."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest

from tests.cli.conftest import Cli, cli, hello
from tests.openstack.gate import Gate, Server
from tests.openstack.servers import VENV, environment, servers

__all__ = ["cli", "hello"]

SDK = ("ignore::PendingDeprecationWarning", "ignore::openstack.warnings.OpenStackDeprecationWarning")
"""openstacksdk warns of what it does itself."""
Build = Callable[..., Path]
Cloud = Any
"""A Connection of the SDK, of which its types know too little."""


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """Real Keystone, Glance and Swift, once a run."""
    if not (VENV / ".made-from").exists():
        pytest.skip("Keystone, Glance and Swift are not there: tools/setup-openstack brings them")
    with servers(tmp_path_factory.mktemp("cloud")) as ports:
        gate = Gate(ports)
        with Server(gate) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            yield gate
            server.shutdown()
            thread.join()


@pytest.fixture
def gate(running: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """The gate, with no faults, and a demo user in the environment."""
    monkeypatch.setenv("IMAGEKIT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("imagekit.publish.openstack.importing._PAUSE", 0.05)
    monkeypatch.setattr("imagekit.publish.openstack.server._PAUSE", 0.2)
    for name, value in environment(running.ports).items():
        monkeypatch.setenv(name, value)
    running.clear()
    return running


@pytest.fixture
def cloud(gate: Gate) -> Iterator[Cloud]:
    """The cloud as its user sees it; what a test left there goes."""
    with openstack.connect() as made:
        connection: Cloud = made
        yield connection
        gate.clear()
        for image in connection.image.images(owner=connection.current_project_id):
            connection.image.delete_image(image)
        for container in list(connection.object_store.containers()):
            for one in list(connection.object_store.objects(container.name)):
                connection.object_store.delete_object(one.name, container=container.name)
            connection.object_store.delete_container(container.name)


@pytest.fixture
def build(cli: Cli, hello: Path) -> Build:
    """Return a function that builds app.vhd, or another form: build("openstack.format=raw", name="app.raw")."""

    def built(*settings: str, name: str = "app.vhd", target: str = "openstack") -> Path:
        sets = [part for one in ("openstack.format=vhd", *settings) for part in ("--set", one)]
        said = cli("build", hello, "-t", target, "-o", name, "-q", *sets)
        assert said.code == 0, said.err
        return Path(name)

    return built


def left(cloud: Cloud) -> tuple[list[str], list[str]]:
    """Return the images and the objects that are there."""
    images = [str(one.id) for one in cloud.image.images(owner=cloud.current_project_id)]
    containers = [str(one.name) for one in cloud.object_store.containers()]
    return images, [f"{name}/{one.name}" for name in containers for one in cloud.object_store.objects(name)]
