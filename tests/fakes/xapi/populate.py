"""A pool's first objects, made from settings."""

from tests.fakes.xapi.kinds import NULL, Record
from tests.fakes.xapi.settings import Storage
from tests.fakes.xapi.state import State

_TEMPLATE = "Other install media"
_MEMORY = 128 << 20


def populate(state: State) -> None:
    """Make pool, hosts, dom0, storage, networks and the template."""
    settings, db = state.settings, state.db
    state.hosts = [
        db.add(
            "host",
            name_label=one.name,
            hostname=one.name,
            address=one.address,
            enabled=True,
            software_version=_software(state),
            capabilities=["xen-3.0-x86_64", *(["hvm-3.0-x86_64"] if settings.hvm else [])],
            supported_bootloaders=["pygrub", "eliloader"],
            metrics=db.add("host_metrics", live=True, memory_total=settings.memory, memory_free=settings.memory),
            **_versions(state),
        )
        for one in settings.hosts
    ]
    state.dom0 = db.add(
        "VM", name_label="Control domain on host", is_control_domain=True, power_state="Running", domid=0
    )
    srs = {one.name: _sr(state, one) for one in settings.storage}
    default = srs.get(settings.default_sr, "OpaqueRef:dangling") if settings.default_sr else NULL
    state.pool = db.add("pool", name_label="pool", master=state.hosts[0], default_SR=default)
    for number, one in enumerate(settings.networks):
        network = db.add("network", name_label=one.name, bridge=one.bridge, MTU=1500, managed=True)
        for host, machine in zip(state.hosts, settings.hosts, strict=True):
            db.add(
                "PIF",
                device=f"eth{number}",
                network=network,
                host=host,
                IP=machine.address,
                management=not number,
                currently_attached=True,
                VLAN=-1,
                physical=True,
                metrics=db.add("PIF_metrics", carrier=True),
            )
    _template(state)


def _software(state: State) -> Record:
    product = state.settings.product
    return {
        "product_brand": product.brand,
        "product_version": product.version,
        "platform_name": "XCP",
        "platform_version": product.platform,
        "xen": product.xen,
        "xapi": ".".join(map(str, product.xapi)),
        "hostname": "localhost",
        "date": "2024-01-01",
        "build_number": "0",
    }


def _versions(state: State) -> Record:
    minor = 3 if state.settings.product.release == "creedence" else 21
    return {"API_version_major": 2, "API_version_minor": minor, "API_version_vendor": "XenSource"}


def _sr(state: State, one: Storage) -> str:
    db = state.db
    config = {"use_vhd": "true"} if one.thick and one.vhd else {}
    sr = db.add(
        "SR",
        name_label=one.name,
        type=one.type,
        content_type=one.content_type,
        shared=one.shared,
        physical_size=one.size,
        sm_config=config,
    )
    for number, host in enumerate(state.hosts):
        if one.shared or number == one.host:
            db.add("PBD", SR=sr, host=host, currently_attached=one.plugged)
    return sr


def _template(state: State) -> None:
    fields = dict.fromkeys(("static_max", "dynamic_max", "dynamic_min", "static_min"), _MEMORY)
    more = {"domain_type": "hvm"} if "domain_type" in state.model.classes["VM"].fields else {}
    state.db.add(
        "VM",
        name_label=_TEMPLATE,
        is_a_template=True,
        is_default_template=True,
        HVM_boot_policy="BIOS order",
        HVM_boot_params={"order": "dc"},
        platform={"nx": "true", "acpi": "1", "apic": "true", "pae": "true", "viridian": "true"},
        other_config={"default_template": "true", "disks": "<provision></provision>", "install-methods": "cdrom"},
        VCPUs_max=1,
        VCPUs_at_startup=1,
        power_state="Halted",
        domid=-1,
        metrics=state.db.add("VM_metrics"),
        actions_after_shutdown="destroy",
        actions_after_reboot="restart",
        actions_after_crash="restart",
        **{f"memory_{name}": value for name, value in fields.items()},
        **more,
    )
