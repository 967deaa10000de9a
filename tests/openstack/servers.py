"""Real Keystone, Glance and Swift on loopback: seeded once and kept beside their environment, ended surely."""

import getpass
import hashlib
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from itertools import product
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import openstack
from filelock import FileLock

from tests.openstack import configuration
from tests.openstack.configuration import HOST, Limits, Ports

VENV = Path(__file__).parents[2] / ".venv-openstack"
PASSWORDS = {"demo": "demo-password", "admin": "admin-password"}
REGIONS = ("RegionOne", "RegionTwo")
"""Two names of the same services."""
LIMITS = Limits()
_PATIENCE = 90.0


@contextmanager
def servers(root: Path, *, limits: Limits = LIMITS, gated: bool = True) -> Iterator[Ports]:
    """Run them below a folder, for as long as they are wanted; `gated`: the catalog names the gate."""
    with FileLock(VENV / ".seed.lock"):  # one of several workers makes it
        seed = _seed()
    ports = _free_ports()
    shutil.copytree(seed, root, dirs_exist_ok=True)
    configuration.write(root, VENV, ports, getpass.getuser(), limits)
    _name_endpoints(root, ports, gated=gated)
    with ExitStack() as running:
        running.enter_context(_keystone(root, ports))
        _rings(root, ports)
        running.enter_context(_started(root, "glance", VENV / "bin/uwsgi", "--ini", root / "glance/uwsgi.ini"))
        for name in ("account", "container", "object", "proxy"):
            program = VENV / f"bin/swift-{name}-server"
            running.enter_context(_started(root, f"swift-{name}", program, root / f"swift/{name}.conf"))
        _wait_for(f"http://{HOST}:{ports.glance}/versions")
        _wait_for(f"http://{HOST}:{ports.swift}/healthcheck")
        yield ports


def environment(ports: Ports, user: str = "demo") -> Mapping[str, str]:
    """Return a user's OS_* variables."""
    return {
        "OS_AUTH_URL": f"http://{HOST}:{ports.keystone}/v3",
        "OS_USERNAME": user,
        "OS_PASSWORD": PASSWORDS[user],
        "OS_PROJECT_NAME": user,
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_REGION_NAME": "RegionOne",
    }


def _seed() -> Path:
    """Return a folder with databases that have users and services; made when it is not there."""
    parts = [Path(__file__).read_bytes(), Path(configuration.__file__).read_bytes()]
    key = hashlib.sha256(b"".join([*parts, (VENV / ".made-from").read_bytes()])).hexdigest()[:16]
    seed = VENV / f"seed-{key}"
    if seed.exists():
        return seed
    root = VENV / f"seeding-{key}"
    shutil.rmtree(root, ignore_errors=True)
    ports = _free_ports()
    configuration.write(root, VENV, ports, getpass.getuser(), LIMITS)
    manage = (VENV / "bin/keystone-manage", "--config-file", root / "keystone/keystone.conf")
    glance = (VENV / "bin/glance-manage", "--config-file", root / "glance/glance-api.conf", "db_sync")
    syncing = subprocess.Popen([*map(str, glance)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _run(*manage, "db_sync")
    _run(*manage, "fernet_setup", "--keystone-user", getpass.getuser(), "--keystone-group", getpass.getuser())
    url = f"http://{HOST}:{ports.keystone}/v3"
    _run(*manage, "bootstrap", "--bootstrap-password", PASSWORDS["admin"], "--bootstrap-public-url", url,
         "--bootstrap-internal-url", url, "--bootstrap-region-id", "RegionOne")  # fmt: skip
    assert syncing.wait() == 0
    with _keystone(root, ports):
        _people(ports)
    shutil.rmtree(root / "log")
    root.rename(seed)
    return seed


def _people(ports: Ports) -> None:
    """Make users, and services whose endpoints are named when they are started."""
    with closing(openstack.connect(load_yaml_config=False, load_envvars=False, region_name="RegionOne", auth={
        "auth_url": f"http://{HOST}:{ports.keystone}/v3", "username": "admin", "password": PASSWORDS["admin"],
        "project_name": "admin", "user_domain_id": "default", "project_domain_id": "default",
    })) as cloud:  # fmt: skip
        keystone: Any = cloud.identity
        roles = {role.name: role for role in keystone.roles()}
        for name, project_name, role in (
            ("glance", "service", "admin"),
            ("swift", "service", "admin"),
            ("demo", "demo", "member"),
        ):
            project = keystone.find_project(project_name) or keystone.create_project(
                name=project_name, domain_id="default"
            )
            user = keystone.create_user(
                name=name, password=PASSWORDS.get(name, f"{name}-password"), domain_id="default"
            )
            keystone.assign_project_role_to_user(project=project, user=user, role=roles[role])
        keystone.create_region(id=REGIONS[1])
        for kind in ("image", "object-store", "compute", "network"):
            service = keystone.create_service(name=kind, type=kind)
            for region, interface in product(REGIONS, ("public", "internal")):
                keystone.create_endpoint(
                    service_id=service.id, interface=interface, url=f"http://{kind}", region_id=region
                )


def _name_endpoints(root: Path, ports: Ports, *, gated: bool) -> None:
    gate = f"http://{HOST}:{ports.gate}"
    urls = {
        "image": f"{gate}/image" if gated else f"http://{HOST}:{ports.glance}",
        "object-store": f"{gate if gated else f'http://{HOST}:{ports.swift}'}/v1/AUTH_$(project_id)s",
        "compute": f"{gate}/compute/v2.1",
        "network": f"{gate}/network",
        "identity": f"http://{HOST}:{ports.keystone}/v3",
    }
    with closing(sqlite3.connect(root / "keystone/keystone.db")) as database, database:
        for kind, url in urls.items():
            command = "update endpoint set url = ? where service_id in (select id from service where type = ?)"
            database.execute(command, (url, kind))


def _rings(root: Path, ports: Ports) -> None:
    """Tell Swift's servers where each other is."""
    for name in ("account", "container", "object"):
        builder = root / f"swift/{name}.builder"
        ring = (VENV / "bin/swift-ring-builder", builder)
        _run(*ring, "create", "4", "1", "0")
        _run(*ring, "add", f"r1z1-{HOST}:{getattr(ports, name)}/d1", "1")
        _run(*ring, "rebalance", ok=(0, 1))


@contextmanager
def _keystone(root: Path, ports: Ports) -> Iterator[None]:
    with _started(root, "keystone", VENV / "bin/uwsgi", "--ini", root / "keystone/uwsgi.ini"):
        _wait_for(f"http://{HOST}:{ports.keystone}/v3")
        yield


@contextmanager
def _started(root: Path, name: str, *command: str | Path) -> Iterator[None]:
    """Run a server; it goes with us, even if we are killed."""
    (root / "log").mkdir(exist_ok=True)
    with (root / f"log/{name}.log").open("wb") as log:
        argv = ["setpriv", "--pdeathsig", "TERM", *map(str, command)]
        server = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            yield
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_for(url: str) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            urlopen(url, timeout=2).close()  # noqa: S310 -- ours
        except HTTPError as error:  # it answers
            error.close()
        except (URLError, OSError):
            assert time.monotonic() < end, f"{url} does not come up"
            time.sleep(0.1)
            continue
        return


def _free_ports() -> Ports:
    with ExitStack() as held:
        ports = []
        for _ in range(7):
            one = held.enter_context(socket.create_server((HOST, 0)))
            ports.append(one.getsockname()[1])
        return Ports(*ports)


def _run(*command: str | Path, ok: tuple[int, ...] = (0,)) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, check=False)
    assert done.returncode in ok, (done.stdout + done.stderr).decode()[-2000:]
