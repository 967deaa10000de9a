"""Rackspace's import task: an object in Cloud Files becomes an image.

Rackspace Cloud Images, "Import an image": POST /v2/tasks {"type": "import", "input": {"image_properties":
{"name": …}, "import_from": "CONTAINER/OBJECT"}}; no other property is taken. What fails is told by a number.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from imagekit.errors import PublishError
from imagekit.publish.course import Course
from imagekit.publish.entry import Entry
from imagekit.publish.openstack import glance
from imagekit.publish.openstack.cloud import Cloud, LostError, RefusedError, Wait, persistent, told

_GONE = 404
_PAUSE = 5.0
_ATTEMPTS = 3
_PASSING = 396  # which Rackspace also says of an import that only went wrong
_REASONS = {
    396: ("what was uploaded is no VHD", "build it again, and verify it"),
    413: ("the VHD is larger than 40 GB", 'disk.size = "auto" makes a smaller one'),
    523: ("the VHD is neither fixed nor dynamic", "imagekit convert makes a dynamic one"),
    609: ("the VHD is larger than 40 GB", 'disk.size = "auto" makes a smaller one'),
    614: ("the VHD's UUID is null", "imagekit convert gives it one"),
    721: ("the VHD has a parent", "imagekit convert makes one that stands alone"),
}


class FailedError(PublishError):
    """A task failed; `number` is Rackspace's, 0 where it has none."""

    def __init__(self, number: int, message: str) -> None:
        reason, hint = _REASONS.get(number, ("the import failed", ""))
        super().__init__(f"Rackspace: {reason}", details=message[:300], hint=hint)
        self.number = number


@dataclass(frozen=True)
class Importer:
    """Has a cloud import objects; `patience` is in seconds."""

    cloud: Cloud
    patience: float
    entry: Entry
    course: Course

    def check(self) -> None:
        """RefusedError for a cloud that takes no import tasks."""
        try:
            self._listed()
        except RefusedError as error:
            raise RefusedError(
                "this cloud takes no import tasks, as Rackspace's does",
                error.status,
                error.details,
                "--target openstack is for other clouds",
            ) from None

    def bring(self, source: str, name: str, put: Callable[[], None]) -> str:
        """Return the id of the image that CONTAINER/OBJECT became; a task that is under way is waited for.

        `put` brings the object there before a task is begun.
        """
        for left in reversed(range(_ATTEMPTS)):
            try:
                return self._await(self._known(source) or self._begun(source, name, put))
            except FailedError as error:
                if error.number != _PASSING or not left:
                    raise
                self.course.tell(f"{error.brief} ({_PASSING}), which may have passed: again")
        raise AssertionError  # the last attempt returns or raises

    def _known(self, source: str) -> str | None:
        """Return the task that imports an object, or has; none that failed, or whose image is gone."""
        for one in self._listed():
            if dict(one.input or {}).get("import_from") == source and self._is_of_use(one):
                return str(one.id)
        return None

    def _is_of_use(self, task: Any) -> bool:  # noqa: ANN401 -- the SDK's
        if task.status != "success":
            return bool(task.status != "failure")
        with told("the imported image"):
            return self.cloud.image.find_image(dict(self._seen(task.id).result or {}).get("image_id")) is not None

    def _listed(self) -> list[Any]:
        def listed() -> list[Any]:
            with told("the import tasks"):
                return list(self.cloud.image.tasks(type="import"))

        return persistent(listed, self.course.wait)

    def _begun(self, source: str, name: str, put: Callable[[], None]) -> str:
        put()
        given = {"image_properties": {"name": name}, "import_from": source}
        with told("the import task"):
            task = self.cloud.image.create_task(type="import", input=given)
        self.course.tell(f"the import task is {task.id}")
        return str(task.id)

    def _await(self, task: str) -> str:
        self.entry.made("task", task)
        end = time.monotonic() + self.patience
        while True:
            self.course.go_on()
            seen = self._seen(task)
            if seen.status == "success":
                image = dict(seen.result or {}).get("image_id")
                if not image:
                    raise PublishError("the import succeeded, and no image is told", details=f"task {task}")
                self.entry.made("image", str(image))
                self.entry.gone("task", task)
                return str(image)
            if seen.status == "failure":
                message = str(seen.message or "")
                self.entry.gone("task", task)
                raise FailedError(_number_in(message), message)
            if time.monotonic() > end:
                raise LostError(
                    "the import does not end",
                    details=f"for {self.patience:.0f} s task {task} is {seen.status}",
                    hint="publish.rackspace.patience gives it more seconds; a repeat goes on with the task",
                )
            self.course.wait(min(_PAUSE, self.patience / 10))

    def _seen(self, task: str) -> Any:  # noqa: ANN401 -- the SDK's
        def seen() -> Any:  # noqa: ANN401
            with told("the import task"):
                return self.cloud.image.get_task(task)

        return persistent(seen, self.course.wait)


def _number_in(message: str) -> int:
    """Return the error's number in a task's message, one that is known before others; 0 when there is none."""
    numbers = [int(one) for one in re.findall(r"\b[0-9]{3}\b", message)]
    return next((one for one in numbers if one in _REASONS), numbers[0] if numbers else 0)


def remove(cloud: Cloud, task: str, wait: Wait) -> None:
    """Remove the image that a task has made; PublishError while it may still make one."""

    def asked() -> Any:  # noqa: ANN401 -- the SDK's
        with told(f"the import task {task}"):
            return cloud.image.get_task(task)

    try:
        seen = persistent(asked, wait)
    except RefusedError as error:
        if error.status == _GONE:  # tasks are forgotten after a while, and their images are not
            return
        raise
    image = dict(seen.result or {}).get("image_id")
    if seen.status == "success" and image:
        glance.remove(cloud, str(image), wait)
    elif seen.status not in {"success", "failure"}:
        raise PublishError(
            f"the import task {task} cannot be ended, and may still make an image",
            hint="`imagekit receipts sweep` removes that, once it is there",
        )
