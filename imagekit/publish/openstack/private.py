"""An image for a private OpenStack on Xen: to Glance by upload, by its staged import, or through Swift."""

import secrets
from typing import Any, ClassVar
from urllib.parse import quote

from imagekit.errors import PublishError
from imagekit.publish import Order
from imagekit.publish.entry import Entry
from imagekit.publish.openstack.cloud import LostError, told
from imagekit.publish.openstack.glance import body_of
from imagekit.publish.openstack.publication import Publication, publish_by
from imagekit.receipt import Receipt
from imagekit.recipe import PublishOpenstack

_ATTEMPTS = 3
_FORMATS = {"vhd": ("vhd", "bare"), "ovf": ("vhd", "ovf"), "raw": ("raw", "bare")}


def publish(order: Order) -> list[Receipt]:
    """Bring the artifact of the target openstack to each region."""
    return publish_by(_Upload, order)


class _Upload(Publication):
    """An image that Glance gets from us."""

    target: ClassVar[str] = "openstack"
    _settings: PublishOpenstack

    def _identity(self) -> dict[str, object]:
        settings = self._settings
        return {**super()._identity(), "visibility": settings.visibility, "tags": sorted(settings.tags)}

    def _made(self, entry: Entry) -> str:
        for left in reversed(range(_ATTEMPTS)):
            image = self._created(entry)
            try:
                self._fill(entry, image)
            except LostError as error:
                self._images(entry).remove(image)
                entry.gone("image", image)
                if not left:
                    raise
                self._course.tell(f"{error.brief}; it begins again")
                self._course.wait(_ATTEMPTS - left)
                continue
            return image
        raise AssertionError  # the last attempt returns or raises

    def _has_all(self, image: Any) -> bool:  # noqa: ANN401 -- the SDK's
        images = self._images(Entry(self._receipt(), self._ledger))
        try:
            images.check(str(image.id), body_of(self._order.path, self._course))
        except PublishError:
            return False
        return True

    def _created(self, entry: Entry) -> str:
        file = self._order.sidecar.file
        disk_format, container_format = _FORMATS[file.form if file else "raw"]
        settings = self._settings
        image = self._images(entry).create(
            {
                "name": self._name,
                "disk_format": disk_format,
                "container_format": container_format,
                "visibility": settings.visibility,
                "tags": list(settings.tags),
                **self._needs,
                "hypervisor_type": "xen",
                "vm_mode": "xen",
                "os_type": "linux",
                "auto_disk_config": "false",
                **settings.properties,
                **self._marks(entry),
            }
        )
        entry.made("image", image)
        return image

    def _fill(self, entry: Entry, image: str) -> None:
        images, body = self._images(entry), body_of(self._order.path, self._course)
        method = self._settings.method
        if method == "web-download":
            images.bring(image, method, self._through_swift(entry))
        else:
            images.send(image, body, staged=method == "staged")
            if method == "staged":
                images.bring(image, "glance-direct")
        images.check(image, body)
        self._course.tell(f"{body.length} bytes sent: image {image}")

    def _through_swift(self, entry: Entry) -> str:
        """Return a URL, good for a while, of the file in Swift."""
        name, container = self._object_name(entry), self._settings.container
        self._shelf(entry).put(self._order.path, name)
        objects = self._cloud.objects
        with told("a URL for Glance"):
            if not objects.get_temp_url_key(container):  # another one would end the URLs of other runs
                objects.set_container_temp_url_key(container, secrets.token_hex(32))
            key = objects.get_temp_url_key(container)  # of two runs that set one, the later's
            root = str(objects.get_endpoint()).rstrip("/")
            path = f"/v1/{root.rpartition('/v1/')[2]}/{quote(container, safe='')}/{quote(name)}"
            signed = objects.generate_temp_url(path, self._settings.patience, "GET", temp_url_key=key)
        return f"{root.rpartition('/v1/')[0]}{signed}"
