"""The configuration of Keystone, Glance and Swift for one folder and its ports: sqlite, plain files, loopback."""

from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
SEGMENTS = 4
"""Those that a manifest of Swift's may name; 1000 in most clouds."""


@dataclass(frozen=True)
class Limits:
    """Bytes of an image that Glance takes, and of all images of a project."""

    image: int = 40 << 20
    project: int = 44 << 20


@dataclass(frozen=True)
class Ports:
    """Where the servers listen; `gate` is the one in front of Glance and Swift, which the catalog names."""

    keystone: int
    glance: int
    swift: int
    account: int
    container: int
    object: int
    gate: int


def write(root: Path, venv: Path, ports: Ports, user: str, limits: Limits) -> None:
    """Write all configuration files below a folder."""
    for name in ("keystone/fernet", "glance/images", "glance/staging", "glance/tasks", "glance/lock"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("swift/srv/d1", "swift/cache", "log"):
        (root / name).mkdir(parents=True, exist_ok=True)
    _keystone(root, venv, ports)
    _glance(root, venv, ports, limits)
    _swift(root, ports, user)


def _keystone(root: Path, venv: Path, ports: Ports) -> None:
    (root / "keystone/keystone.conf").write_text(f"""\
[database]
connection = sqlite:///{root}/keystone/keystone.db
[fernet_tokens]
key_repository = {root}/keystone/fernet
[identity]
password_hash_rounds = 4
""")
    environment = f"OS_KEYSTONE_CONFIG_FILES={root}/keystone/keystone.conf"
    (root / "keystone/uwsgi.ini").write_text(_uwsgi(venv, ports.keystone, "keystone.wsgi.api", environment))


def _glance(root: Path, venv: Path, ports: Ports, limits: Limits) -> None:
    paste = root / "glance/glance-api-paste.ini"
    paste.write_text((venv / "etc/glance/glance-api-paste.ini").read_text())
    (root / "glance/glance-api.conf").write_text(f"""\
[DEFAULT]
enabled_backends = local:file
enabled_import_methods = [glance-direct,web-download]
image_size_cap = {limits.image}
user_storage_quota = {limits.project}B
[glance_store]
default_backend = local
[local]
filesystem_store_datadir = {root}/glance/images
[os_glance_staging_store]
filesystem_store_datadir = {root}/glance/staging
[os_glance_tasks_store]
filesystem_store_datadir = {root}/glance/tasks
[database]
connection = sqlite:///{root}/glance/glance.db
{_token(ports, "keystone_authtoken", "glance")}
[paste_deploy]
flavor = keystone
config_file = {paste}
[oslo_concurrency]
lock_path = {root}/glance/lock
""")
    (root / "glance/glance-image-import.conf").write_text(f"""\
[import_filtering_opts]
allowed_schemes = [http]
allowed_hosts = [{HOST}]
allowed_ports = [{ports.gate}]
""")
    environment = f"OS_GLANCE_CONFIG_DIR={root}/glance"
    (root / "glance/uwsgi.ini").write_text(_uwsgi(venv, ports.glance, "glance.wsgi.api", environment))


def _swift(root: Path, ports: Ports, user: str) -> None:
    folder = root / "swift"
    (folder / "swift.conf").write_text("""\
[swift-hash]
swift_hash_path_prefix = imagekit
swift_hash_path_suffix = imagekit
[storage-policy:0]
name = default
default = yes
""")
    common = f"bind_ip = {HOST}\nworkers = 0\nuser = {user}\nswift_dir = {folder}\nlog_level = WARNING\n"
    for name in ("account", "container", "object"):
        (folder / f"{name}.conf").write_text(f"""\
[DEFAULT]
{common}bind_port = {getattr(ports, name)}
devices = {folder}/srv
mount_check = false
disable_fallocate = true
recon_cache_path = {folder}/cache
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
""")
    filters = ("catch_errors", "healthcheck", "bulk", "tempurl", "slo", "dlo", "keystoneauth", "copy")
    named = "\n".join(f"[filter:{name}]\nuse = egg:swift#{name}" for name in filters if name != "keystoneauth")
    named = named.replace("egg:swift#slo", f"egg:swift#slo\nmax_manifest_segments = {SEGMENTS}")
    (folder / "proxy.conf").write_text(f"""\
[DEFAULT]
{common}bind_port = {ports.swift}
[pipeline:main]
pipeline = catch_errors healthcheck cache bulk tempurl slo dlo authtoken keystoneauth copy proxy-server
{named}
[filter:cache]
use = egg:swift#memcache
memcache_servers = {HOST}:1
{_token(ports, "filter:authtoken", "swift")}
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
delay_auth_decision = True
[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = admin, member
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
""")


def _token(ports: Ports, section: str, user: str) -> str:
    """Return how a service asks Keystone about tokens."""
    url = f"http://{HOST}:{ports.keystone}"
    return f"""\
[{section}]
auth_url = {url}
www_authenticate_uri = {url}
auth_type = password
user_domain_id = default
project_domain_id = default
project_name = service
username = {user}
password = {user}-password
"""


def _uwsgi(venv: Path, port: int, module: str, environment: str) -> str:
    # Glance reads chunked bodies by uWSGI's own call; that a kept connection was closed would not be noticed.
    return f"""\
[uwsgi]
http-socket = {HOST}:{port}
module = {module}:application
virtualenv = {venv}
master = true
processes = 1
threads = 4
enable-threads = true
lazy-apps = true
need-app = true
die-on-term = true
buffer-size = 65535
socket-timeout = 60
chunked-input-limit = 16777216
http-raw-body = true
add-header = Connection: close
env = {environment}
"""
