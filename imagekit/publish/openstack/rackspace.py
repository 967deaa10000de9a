"""An image for Rackspace's cloud: a VHD to Cloud Files, and Glance's import task from there."""

from typing import Any, ClassVar

from imagekit.errors import PublishError
from imagekit.publish import Order
from imagekit.publish.entry import Entry
from imagekit.publish.openstack.importing import Importer
from imagekit.publish.openstack.publication import Publication, publish_by
from imagekit.receipt import Receipt
from imagekit.targets.rackspace import LARGEST_DISK, LARGEST_FILE


def publish(order: Order) -> list[Receipt]:
    """Bring the artifact of the target rackspace to each region."""
    _check_sizes(order)
    return publish_by(_Import, order)


def _check_sizes(order: Order) -> None:
    sizes = (
        ("the VHD", order.path.stat().st_size, LARGEST_FILE),
        ("the disk", order.sidecar.length, LARGEST_DISK),
    )
    for what, size, most in sizes:
        if size > most:
            raise PublishError(
                f"{what} is larger than Rackspace takes",
                details=f"{size} bytes, and {most} at most",
                hint='disk.size = "auto" makes a smaller one',
            )


class _Import(Publication):
    """An image that Rackspace's cloud makes of an object."""

    target: ClassVar[str] = "rackspace"

    def check(self) -> None:
        super().check()
        self._importer(Entry(self._receipt(), self._ledger)).check()

    def _made(self, entry: Entry) -> str:
        name, importer = self._object_name(entry), self._importer(entry)
        source = f"{self._settings.container}/{name}"

        def put() -> None:
            self._shelf(entry).put(self._order.path, name)
            self._course.tell(f"{self._order.path.stat().st_size / (1 << 20):.1f} MiB are in Cloud Files")

        image = importer.bring(source, self._name, put)
        self._images(entry).mark(image, {**self._properties(), **self._marks(entry)})
        self._course.tell(f"image {image}")
        return image

    def _has_all(self, image: Any) -> bool:  # noqa: ANN401, ARG002 -- the SDK's
        return True  # it is active: the import has made it, and knows alone of what bytes

    def _properties(self) -> dict[str, object]:
        given: dict[str, object] = {"vm_mode": "xen", "os_type": "linux", "auto_disk_config": "false"}
        return {**given, **self._needs, **self._settings.properties}

    def _importer(self, entry: Entry) -> Importer:
        return Importer(self._cloud, float(self._settings.patience), entry, self._course)
