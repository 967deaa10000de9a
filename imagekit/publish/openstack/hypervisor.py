"""What runs a cloud's guests: asked before anything is sent, of those who may know it.

Nova tells its administrators; everybody is told by the properties of the images that a cloud offers
(openstack/glance, doc/source/admin/useful-image-properties.rst). Rackspace's cloud of today, Flex, is KVM:
rackerlabs/genestack.
"""

import re
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from imagekit.errors import KernelError, PublishError
from imagekit.publish.openstack.cloud import Cloud, told

_SEVERAL = 200
_XEN_TYPES = {"xen", "xenserver", "xapi"}
_KVM_TYPES = {"qemu", "kvm"}
_KVM_MARKS = ("hw_qemu_guest_agent", "hw_machine_type", "hw_firmware_type")
_RACKSPACE = ".rackspacecloud.com"
_FLEX_KEYSTONE = "keystone.api."
_FLEX_REGION = re.compile(r"[A-Z]{3}[0-9]+")  # SJC3, DFW3; the Xen cloud's had no number


def check(cloud: Cloud, tell: Callable[[str], None]) -> None:
    """Refuse a cloud that runs no Xen, KernelError; one that does not tell is warned of."""
    asked = (ask(cloud) for ask in (_flex, _by_compute, _by_images))
    why = next((answer for answer in asked if answer is not None), None)
    if why is None:
        tell("warning: this cloud does not tell what runs its guests; a PV kernel boots on Xen alone")
    elif why:
        raise KernelError(
            f"{cloud.place} runs no Xen: no PV kernel boots there",
            details=why,
            hint="--hypervisor xen, if it is known to run Xen all the same",
        )


def _flex(cloud: Cloud) -> str | None:
    """Tell Rackspace Flex by its identity service, each region's own Keystone, or by the region's name."""
    host = urlsplit(cloud.auth_url).hostname or ""
    if not host.endswith(_RACKSPACE):
        return None
    if host.startswith(_FLEX_KEYSTONE) or _FLEX_REGION.fullmatch(cloud.region):
        return f"{host}, {cloud.region}, is Rackspace Flex, whose guests run under KVM"
    return None


def _by_compute(cloud: Cloud) -> str | None:
    """Return why not, "" for Xen, None when Nova does not tell us."""
    try:
        if not cloud.has("compute"):
            return None
        with told("the hypervisors"):
            types = {str(one.hypervisor_type).lower() for one in islice(_listed(cloud), _SEVERAL)}
    except PublishError:  # for administrators alone, in most clouds
        return None
    if types & _XEN_TYPES:
        return ""
    return f"its hypervisors are {', '.join(sorted(types))}" if types & _KVM_TYPES else None


def _listed(cloud: Cloud) -> Iterable[Any]:
    return cloud.compute.hypervisors(details=True)  # type: ignore[no-any-return]


def _by_images(cloud: Cloud) -> str | None:
    """Return why not, "" for Xen, None when no image tells."""
    with told("the cloud's images"):
        images = list(islice(cloud.image.images(visibility="public", status="active"), _SEVERAL))
    marks = [(str(one.name), _mark(one)) for one in images]
    if any(mark == "xen" for _, mark in marks):
        return ""
    return next((f"its image {name} is for {mark}" for name, mark in marks if mark), None)


def _mark(image: Any) -> str:  # noqa: ANN401 -- the SDK's
    """Return what an image is for, "" when it does not say."""
    told_type = str(image.hypervisor_type or "").lower()
    if told_type in _XEN_TYPES or image.vm_mode == "xen" or image.disk_format == "vhd":
        return "xen"
    if told_type in _KVM_TYPES:
        return told_type
    extra = dict(image.properties or {})
    seen = next((name for name in _KVM_MARKS if getattr(image, name, None) or extra.get(name)), None)
    return f"KVM ({seen})" if seen else ""
