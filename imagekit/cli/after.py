"""What `imagekit build` does with artifacts that are made: boots them, publishes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imagekit.cli.console import cache_dir, state_dir, tell
from imagekit.errors import ImagekitError, InterruptedByUser

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imagekit.artifact import Artifact
    from imagekit.build import Runner
    from imagekit.failures import Failure
    from imagekit.prepare import Prepared
    from imagekit.prove import Laboratory
    from imagekit.receipt import Receipt


class After:
    """Proofs and publications of what a build made; `failures` are those that kept nothing else up."""

    def __init__(self, prepared: "Prepared", runner: "Runner", *, quiet: bool, keep_going: bool) -> None:
        self._prepared, self._runner = prepared, runner
        self._quiet, self._keep_going = quiet, keep_going
        self.failures: list[Failure] = []

    def prove(self, artifacts: "Sequence[Artifact]") -> "list[Artifact]":
        """Boot what has no proof yet; return what boots."""
        from imagekit.prove import Laboratory  # noqa: PLC0415

        laboratory = Laboratory(cache_dir(), state_dir(), note=(lambda _: None) if self._quiet else tell)
        good = []
        for artifact in artifacts:
            with self._going_on(artifact):
                self._prove(artifact, laboratory)
                good.append(artifact)
        return good

    def publish(self, artifacts: "Sequence[Artifact]") -> "list[Receipt]":
        """Publish what its recipe says is to be; return the receipts."""
        from imagekit.cli.goods import is_published  # noqa: PLC0415
        from imagekit.cli.wish import Wish, publish_one  # noqa: PLC0415

        wish = Wish({}, account={}, quiet=self._quiet)
        receipts: list[Receipt] = []
        for artifact in artifacts:
            image = self._prepared.images[artifact.image]
            if is_published(artifact.target, image):
                with self._going_on(artifact):
                    receipts += publish_one(artifact.path, image, wish)
        return receipts

    def _prove(self, artifact: "Artifact", laboratory: "Laboratory") -> None:
        from imagekit import proof  # noqa: PLC0415
        from imagekit.artifact import Sidecar  # noqa: PLC0415
        from imagekit.cli.prove import Wish, expected_of, network_of, prove_one, report  # noqa: PLC0415

        sidecar, image = Sidecar.read(artifact.path), self._prepared.images[artifact.image]
        known = sidecar and proof.find(sidecar.digest, str(sidecar.boot["way"]), state_dir())
        if known and known.expected == expected_of(image).told(network_of(image)):
            if not self._quiet:
                tell(f"{artifact.path}: proven before, {known.started}: {known.why}")
        else:
            made = prove_one(laboratory, artifact.path, Wish(), image)
            report([made], as_json=False, quiet=self._quiet, result=False)

    @contextmanager
    def _going_on(self, artifact: "Artifact") -> Iterator[None]:
        """Note an error and tell of it, where the build is to go on; else let it through."""
        from imagekit.failures import Failure  # noqa: PLC0415

        try:
            yield
        except InterruptedByUser:
            raise
        except ImagekitError as error:
            if not self._keep_going:
                raise
            self.failures.append(Failure(artifact.image, artifact.target, error))
            self._runner.tell(self.failures[-1].event())
