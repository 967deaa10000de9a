"""Images in Glance: made, filled, held against what was sent, and found again by their marks.

openstack/glance, api-ref/source/v2: an image is `queued` until its data come, and stays so when they are refused.
A broken upload may leave it `active` with what had come, so size and hash decide what is whole.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from openstack.image.v2.image import Image

from imagekit.errors import PublishError
from imagekit.publish.course import Course
from imagekit.publish.openstack.body import Body
from imagekit.publish.openstack.cloud import Cloud, LostError, RefusedError, Wait, answered, persistent, told

PUBLICATION, RUN, COMPLETE = "imagekit_publication", "imagekit_run", "imagekit_complete"
"""Properties: the receipt's id; the run that made it; the image's own id, once it is whole."""

_GONE = 404
_PATCH = "application/openstack-images-v2.1-json-patch"
_PAUSE = 2.0
_USUAL = ("sha512",)  # what Glance hashes with since Rocky


@dataclass(frozen=True)
class Images:
    """The images of one publication in one cloud; `patience` is in seconds."""

    cloud: Cloud
    publication: str
    patience: float
    course: Course

    def marked(self) -> list[Any]:
        """Return those that carry this publication's mark."""

        def listed() -> list[Any]:
            with told("the list of images"):
                return list(self.cloud.image.images(owner=self.cloud.project))

        everything = persistent(listed, self.course.wait)
        return [one for one in everything if (one.properties or {}).get(PUBLICATION) == self.publication]

    def get(self, image: str) -> Any:  # noqa: ANN401 -- the SDK's
        """Return an image."""

        def seen() -> Any:  # noqa: ANN401
            with told("the image"):
                return self.cloud.image.get_image(image)

        return persistent(seen, self.course.wait)

    def create(self, attributes: Mapping[str, object]) -> str:
        """Make an image without data, and return its id."""
        self.course.go_on()
        with told("the image"):
            return str(Image.new(**attributes).create(self.cloud.image).id)

    def mark(self, image: str, properties: Mapping[str, object]) -> None:
        """Set properties, whether they are there already or not."""
        patch = [{"op": "add", "path": f"/{name}", "value": value} for name, value in properties.items()]
        what, headers = "the image's properties", {"Content-Type": _PATCH}

        def patched() -> None:
            with told(what):
                answer = self.cloud.image.patch(
                    f"/images/{image}", data=json.dumps(patch).encode(), headers=headers
                )
            answered(answer, what)

        persistent(patched, self.course.wait)

    def send(self, image: str, body: Body, *, staged: bool) -> None:
        """Fill an image; RefusedError when Glance does not take it, LostError when the connection broke."""
        what = "the upload"
        headers = {"Content-Type": "application/octet-stream", "Accept": "*/*"}
        with told(what):
            answer = self.cloud.image.put(
                f"/images/{image}/{'stage' if staged else 'file'}",
                data=body,
                headers=headers,
                timeout=self.patience,
                log=False,
            )
        answered(answer, what)

    def bring(self, image: str, method: str, uri: str | None = None) -> None:
        """Have Glance import what was staged, or what lies at a URI; wait until it has."""
        self.course.go_on()
        with told("the import"):
            answer = self.get(image).import_image(self.cloud.image, method, uri=uri)
        answered(answer, "the import")
        waited = 0.0
        while (seen := self.get(image)).status != "active":
            failed = str((seen.properties or {}).get("os_glance_failed_import", "") or "")
            if seen.status in {"killed", "deleted"} or failed or self._has_failed(image):
                raise PublishError("Glance could not import the image", details=self._task_words(image))
            if waited >= self.patience:
                raise LostError(
                    "Glance does not end the import",
                    details=f"for {self.patience:.0f} s the image is {seen.status}",
                    hint="publish.openstack.patience gives it more seconds",
                )
            self.course.go_on()
            self.course.wait(_PAUSE)
            waited += _PAUSE

    def check(self, image: str, body: Body) -> Any:  # noqa: ANN401 -- the SDK's
        """Hold an image against what was sent; PublishError when it is not that."""
        seen = self.get(image)
        if seen.status != "active":
            raise PublishError("Glance has not taken the image", details=f"it is {seen.status}")
        sums = [(seen.hash_algo, seen.hash_value), ("md5", seen.checksum)]
        name, value = next(((name, value) for name, value in sums if name and value), ("", ""))
        if not name:
            raise PublishError("Glance tells no checksum of the image, so what it has is not known")
        if seen.size != body.length or body.summed(str(name)) != value:
            raise PublishError(
                "Glance has another image than the one that was sent",
                details=f"{seen.size} bytes, {name} {value}; {body.length} were sent, {body.summed(str(name))}",
                hint="an image import that converts images would do that, too",
            )
        return seen

    def remove(self, image: str) -> None:
        """Remove an image."""
        remove(self.cloud, image, self.course.wait)

    def _has_failed(self, image: str) -> bool:
        return any(one.status == "failure" for one in self._tasks(image))

    def _task_words(self, image: str) -> str:
        return "; ".join(str(one.message) for one in self._tasks(image) if one.status == "failure")

    def _tasks(self, image: str) -> list[Any]:
        """Return an image's import tasks, as far as Glance tells of them."""
        try:
            with told("the import's task"):
                return list(self.cloud.image.image_tasks(image))
        except (RefusedError, LostError):
            return []


def body_of(path: Path, course: Course) -> Body:
    """Return a file as what Glance is sent."""
    return Body(path, 0, path.stat().st_size, _USUAL, course.go_on, course.tell)


def remove(cloud: Cloud, image: str, wait: Wait) -> None:
    """Remove an image; one that is gone already counts as removed.

    Glance answers 500 while it still gives up an upload that broke.
    """

    def removed() -> None:
        with told(f"removing the image {image}"):
            cloud.image.delete_image(image, ignore_missing=True)

    try:
        persistent(removed, wait)
    except RefusedError as error:
        if error.status != _GONE:
            raise


def is_whole(image: Any) -> bool:  # noqa: ANN401 -- the SDK's
    """Tell whether a run of ours has seen that it is whole; a copy of it does not carry its own id."""
    return bool(
        image.status == "active" and cast("dict[str, str]", image.properties or {}).get(COMPLETE) == image.id
    )
