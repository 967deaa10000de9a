"""Objects in a Swift container: sent in segments, those that are there already left where they are.

openstack/swift: doc/source/overview_large_objects.rst, swift/common/middleware/slo.py. A segment's ETag is its
MD5, and a static large object's manifest names those of all segments, which Swift holds against what it has.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from imagekit.publish.course import Course
from imagekit.publish.entry import Entry
from imagekit.publish.openstack.body import Body
from imagekit.publish.openstack.cloud import Cloud, LostError, Wait, answered, persistent, told

_ATTEMPTS = 4
_TELL_EVERY = 10.0  # seconds
_MIB = 1 << 20
_GONE = 404
_NOT_EMPTY = 409
_CREATED = 201


@dataclass(frozen=True)
class Shelf:
    """A container, and how it is filled; `segment` is in bytes, `patience` in seconds."""

    cloud: Cloud
    container: str
    segment: int
    workers: int
    patience: float
    entry: Entry
    course: Course

    def put(self, path: Path, name: str) -> None:
        """Bring a file to an object; LostError when a segment went wrong too often."""
        self._open()
        length = path.stat().st_size
        there = self._there(name)
        if length <= self.segment:
            self._enter(name)
            self._put_part(path, name, 0, length, there)
            return
        slo = self._slo()
        segment = self._segment(length, slo)
        starts = range(0, length, segment)
        parts = [(f"{name}/{number:08d}", at, min(segment, length - at)) for number, at in enumerate(starts)]
        for part, _, _ in parts:
            self._enter(part)
        with ThreadPoolExecutor(self.workers) as pool:
            tasks = [pool.submit(self._put_part, path, *part, there) for part in parts]
            try:
                sums = list(self._told(tasks))
            except BaseException:
                for task in tasks:
                    task.cancel()
                raise
        listed = [(part[0], part[2], checksum) for part, checksum in zip(parts, sums, strict=True)]
        self._bind(name, listed, static=slo is not None)

    def _told(self, tasks: Sequence[Future[str]]) -> Iterator[str]:
        """Yield what tasks return, and tell now and then how many have."""
        told = time.monotonic()
        for number, task in enumerate(tasks, 1):
            yield task.result()
            if time.monotonic() - told > _TELL_EVERY:
                told = time.monotonic()
                self.course.tell(f"{number} of {len(tasks)} segments are there")

    def remove(self) -> None:
        """Remove what the entry says that we put there, and the container if it is ours and empty."""
        for one in self.entry.receipt.left:
            if one.kind in {"object", "container"}:
                remove(self.cloud, one.kind, one.id, self.course.wait)
                self.entry.gone(one.kind, one.id)

    def _open(self) -> None:
        """Make the container, unless it is there."""
        with told("the container"):
            answer = self.cloud.objects.put(quote(self.container, safe=""))
        if answered(answer, f"the container {self.container}").status_code == _CREATED:
            self.entry.made("container", self.container)

    def _there(self, name: str) -> Mapping[str, tuple[int, str]]:
        """Return bytes and MD5 of the objects that an earlier run has left."""
        query, what = {"prefix": name, "format": "json"}, "the container's list"

        def listed() -> list[dict[str, Any]]:
            with told(what):
                answer = self.cloud.objects.get(quote(self.container, safe=""), params=query)
                return list(answered(answer, what).json())

        there = persistent(listed, self.course.wait)
        return {str(one["name"]): (int(one["bytes"]), str(one["hash"])) for one in there if "name" in one}

    def _put_part(self, path: Path, name: str, at: int, length: int, there: Mapping[str, tuple[int, str]]) -> str:
        """Send a part, unless it is there; return its MD5."""
        self.course.go_on()
        body = Body(path, at, length, ("md5",), self.course.go_on)
        known = there.get(name)
        if known is not None and known[0] == length and known[1] == body.summed("md5"):
            self.course.tell(f"{name} is there already")
            return known[1]
        for left in reversed(range(_ATTEMPTS)):
            try:
                return self._send(name, body)
            except LostError as error:
                if not left:
                    raise
                self.course.tell(f"{error.brief}; it is sent again")
                self.course.wait(_ATTEMPTS - left)
        raise AssertionError  # the last attempt returns or raises

    def _send(self, name: str, body: Body) -> str:
        what = f"the upload of {name}"
        with told(what):
            answer = self.cloud.objects.put(
                self._at(name),
                data=body,
                headers={"Content-Type": "application/octet-stream"},
                timeout=self.patience,
                log=False,
            )
        seen = answered(answer, what).headers.get("ETag", "").strip('"')
        if seen != body.summed("md5"):
            raise LostError(f"{what}: Swift has other bytes", details=f"MD5 {seen}, not {body.summed('md5')}")
        return seen

    def _slo(self) -> Mapping[str, object] | None:
        """Return what Swift says of static large objects, None where it has none."""

        def asked() -> Any:  # noqa: ANN401 -- the SDK's
            with told("what Swift can do"):
                return self.cloud.objects.get_info().slo

        slo = persistent(asked, self.course.wait)
        return None if slo is None else dict(slo)

    def _segment(self, length: int, slo: Mapping[str, object] | None) -> int:
        """Return the bytes of a segment: as the settings have it, or more where a manifest would be too long."""
        most = (slo or {}).get("max_manifest_segments")
        least = -(-length // most) if isinstance(most, int) and most > 0 else 0
        return max(self.segment, -(-least // _MIB) * _MIB)

    def _bind(self, name: str, parts: list[tuple[str, int, str]], *, static: bool) -> None:
        """Write the manifest that makes one object of the parts."""
        self.course.go_on()
        self._enter(name)
        if static:
            listed = [
                {"path": f"/{self.container}/{one}", "size_bytes": length, "etag": checksum}
                for one, length, checksum in parts
            ]
            self._manifest(name, json.dumps(listed).encode(), {}, {"multipart-manifest": "put"})
        else:
            self._manifest(name, b"", {"X-Object-Manifest": quote(f"{self.container}/{name}/")}, {})

    def _manifest(self, name: str, data: bytes, headers: Mapping[str, str], query: Mapping[str, str]) -> None:
        what = f"the manifest of {name}"

        def sent() -> None:
            with told(what):
                answer = self.cloud.objects.put(
                    self._at(name), data=data, headers=dict(headers), params=dict(query), timeout=self.patience
                )
            answered(answer, what)

        persistent(sent, self.course.wait)

    def _enter(self, name: str) -> None:
        self.entry.made("object", f"{self.container}/{name}")

    def _at(self, name: str) -> str:
        return f"{quote(self.container, safe='')}/{quote(name)}"


def remove(cloud: Cloud, kind: str, name: str, wait: Wait) -> None:
    """Remove an object (CONTAINER/NAME; a manifest's segments are objects of their own) or an empty container."""
    container, _, rest = name.partition("/")
    path, what = quote(container, safe="") + (f"/{quote(rest)}" if rest else ""), f"removing {kind} {name}"

    def removed() -> None:
        with told(what):
            answer = cloud.objects.delete(path)
        in_use = kind == "container" and answer.status_code == _NOT_EMPTY  # others have put something there
        if answer.status_code != _GONE and not in_use:
            answered(answer, what)

    persistent(removed, wait)
