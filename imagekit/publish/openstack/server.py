"""A server from an image: booted, and seen to live."""

import time
from dataclasses import dataclass
from typing import Any

from openstack import utils

from imagekit.errors import PublishError, UsageError
from imagekit.publish.course import Course
from imagekit.publish.entry import Entry
from imagekit.publish.openstack.cloud import Cloud, LostError, RefusedError, Wait, persistent, told
from imagekit.publish.openstack.glance import PUBLICATION
from imagekit.recipe import PublishOpenstack, PublishRackspace
from imagekit.terminal import last_lines

_PAUSE = 2.0
_GONE = 404
_NO_NETWORK = "2.37"  # the microversion that knows `networks: none`
_LAST_LINES = 20


@dataclass(frozen=True)
class Servers:
    """Boots servers of one publication."""

    cloud: Cloud
    settings: PublishOpenstack | PublishRackspace
    entry: Entry
    course: Course

    def check(self) -> None:
        """UsageError for a flavor or network that is not named, or not there."""
        if self.settings.flavor is None:
            raise UsageError("a server has a flavor", hint="--flavor NAME; `openstack flavor list` shows them")
        if not self.cloud.has("compute"):
            raise UsageError(f"{self.cloud.place} has no compute service to boot a server")
        self._flavor()
        self._networks()

    def boot(self, name: str, image: str) -> str:
        """Return the id of the server that runs the image: found, or booted and watched for a while."""
        found = next(iter(self.marked()), None)
        if found is not None and found.status == "ACTIVE":
            self.entry.found("server", str(found.id))
            self.course.tell(f"the server is there already: {found.id}")
            return str(found.id)
        if found is not None and found.status != "BUILD":
            self.course.tell(f"server {found.id} is {found.status}: it goes, and another one comes")
            remove(self.cloud, str(found.id), self.course.wait)
            self.entry.gone("server", str(found.id))
            found = None
        server = str(found.id) if found is not None else self._create(name, image)
        self._await(server)
        return server

    def marked(self) -> list[Any]:
        """Return the servers that carry this publication's mark."""

        def listed() -> list[Any]:
            with told("the servers"):
                return list(self.cloud.compute.servers())

        everything = persistent(listed, self.course.wait)
        return [one for one in everything if (one.metadata or {}).get(PUBLICATION) == self.entry.receipt.id]

    def _create(self, name: str, image: str) -> str:
        networks = self._networks()
        wanted: dict[str, Any] = {"networks": networks} if networks is not None else {}
        with told("the server"):
            made = self.cloud.compute.create_server(
                name=name,
                image_id=image,
                flavor_id=self._flavor(),
                metadata={PUBLICATION: self.entry.receipt.id},
                **wanted,
            )
        self.entry.made("server", str(made.id))
        self.course.tell(f"server {name}: {made.id}")
        return str(made.id)

    def _await(self, server: str) -> None:
        """Wait until it runs, and then see that it lives."""
        end, watched = time.monotonic() + self.settings.patience, 0.0
        while watched < self.settings.watch:
            seen = self._seen(server)
            if seen.status == "ACTIVE":
                watched += _PAUSE
            elif seen.status != "BUILD" or watched:
                fault = (seen.fault or {}).get("message", "") if seen.status == "ERROR" else ""
                raise PublishError(
                    f"the server does not live: it is {seen.status}", details=fault or self._console(server)
                )
            elif time.monotonic() > end:
                raise LostError("the server does not come up", details=f"{self.settings.patience} s have passed")
            self.course.wait(min(_PAUSE, float(self.settings.watch)))
        self.course.tell(f"it runs, for {self.settings.watch} s now")

    def _seen(self, server: str) -> Any:  # noqa: ANN401 -- the SDK's
        def seen() -> Any:  # noqa: ANN401
            with told("the server"):
                return self.cloud.compute.get_server(server)

        return persistent(seen, self.course.wait)

    def _console(self, server: str) -> str:
        try:
            with told("the console"):
                said = self.cloud.compute.get_server_console_output(server, length=_LAST_LINES)
        except PublishError:
            return "and its console is not told"
        text = str(said.get("output", "") if isinstance(said, dict) else said)
        return last_lines(text.encode(errors="backslashreplace"))

    def _flavor(self) -> str:
        with told("the flavors"):
            found = self.cloud.compute.find_flavor(self.settings.flavor)
        if found is None:
            raise UsageError(f"no flavor is named {self.settings.flavor!r}", hint="`openstack flavor list`")
        return str(found.id)

    def _networks(self) -> object:
        """Return what Nova is told of networks; None where it is told nothing."""
        if self.settings.network is None:
            with told("the compute service"):
                return "none" if utils.supports_microversion(self.cloud.compute, _NO_NETWORK) else None
        with told("the networks"):
            found = self.cloud.connection.network.find_network(self.settings.network)
        if found is None:
            raise UsageError(f"no network is named {self.settings.network!r}", hint="`openstack network list`")
        return [{"uuid": str(found.id)}]


def remove(cloud: Cloud, server: str, wait: Wait) -> None:
    """Remove a server, and wait until it is gone; one that is gone already counts as removed."""
    for _ in range(60):
        try:
            with told(f"removing the server {server}"):
                cloud.compute.delete_server(server, ignore_missing=False)
                cloud.compute.get_server(server)
        except RefusedError as error:
            if error.status == _GONE:
                return
            raise
        except LostError:  # it is asked again
            pass
        wait(_PAUSE)
    raise PublishError(f"the server {server} does not go")
