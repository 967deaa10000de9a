"""The paper trail of a build: SBOM, statement with SLSA's provenance (slsa.dev/provenance/v1), sums.

Reproducible: no time but SOURCE_DATE_EPOCH, no path but relative to the recipe, nothing of the machine.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imagekit.artifact import SUFFIX, Artifact, Sidecar
from imagekit.errors import BuildError
from imagekit.plan import Json
from imagekit.provenance import files, sbom, sums
from imagekit.provenance.made import Made
from imagekit.provenance.parameters import described, named
from imagekit.provenance.statement import PROVENANCE, Resource, Statement, file_uri, resource
from imagekit.root import image_digest, is_layout
from imagekit.version import __version__

if TYPE_CHECKING:
    from imagekit.build import Runner
    from imagekit.prepare import Prepared

BUILD_TYPE = "urn:imagekit:build:v1"
"""SLSA's buildType: docs/reference/provenance.md tells what its parameters mean."""

TREES = {False: "imagekitTree", True: "imagekitKeptTree"}
"""Our digests of folders, by whether modes and owners count: `imagekit.sparse.digest_tree`."""

_VERSION = re.compile(r"\d+(?:\.\d+)+[\w.+~-]*")


@dataclass(frozen=True, slots=True)
class Build:
    """A build that is done: what it was prepared of, the runner that ran it, SOURCE_DATE_EPOCH in seconds."""

    prepared: "Prepared"
    runner: "Runner"
    epoch: int

    def write(self, artifact: Artifact) -> tuple[Path, ...]:
        """Write SBOM, statement and sums beside an artifact, and return their paths; sums come last."""
        main = artifact.path
        made = Made(next(one for one in self.prepared.plan.outputs if one.path == main), self.runner)
        outputs = [(path.name, sums.sha256(path)) for path in (main, *artifact.companions)]
        bill = files.write(files.beside(main, files.SBOM), sbom.to_bytes(self._facts(artifact, made, outputs)))
        byproduct = (bill.name, sums.sha256(bill))
        statement = Statement(PROVENANCE, tuple(outputs), self._predicate(artifact, made, byproduct))
        told = files.write_first(main, statement.to_bytes())
        listed = sums.to_bytes([*outputs, byproduct, (told.name, sums.sha256(told))])
        return bill, told, files.write(files.beside(main, files.SUMS), listed)

    def _facts(self, artifact: Artifact, made: Made, outputs: list[tuple[str, str]]) -> sbom.Facts:
        sidecar = Sidecar.read(artifact.path)
        if sidecar is None:
            raise BuildError(f"{artifact.path} has no sidecar", details=f"{artifact.path.name}{SUFFIX} is gone")
        return sbom.Facts(
            image=artifact.image,
            target=artifact.target,
            kernel=sidecar.kernel,
            kernel_sha256=sums.sha256(made.kernel()),
            contents=made.contents(),
            files=outputs,
            epoch=self.epoch,
            grub=_grub(made),
        )

    def _predicate(self, artifact: Artifact, made: Made, bill: tuple[str, str]) -> dict[str, Json]:
        image = self.prepared.images[artifact.image]
        tools = made.tools()
        return {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "recipe": described(image, self._folder(artifact.image)),
                    "sourceDateEpoch": self.epoch,
                    "target": artifact.target,
                },
                "internalParameters": {
                    "steps": {step.name: step.revision for step in made.plan.steps()},
                    "tools": tools,
                },
                "resolvedDependencies": [*self._inputs(artifact.image, made), *map(_tool, tools.items())],
            },
            "runDetails": {
                "builder": {"id": image.provenance.builder, "version": {"imagekit": __version__}},
                "byproducts": [
                    {**resource(bill[0], sha256=bill[1]), "mediaType": "application/vnd.cyclonedx+json"}
                ],
            },
        }

    def _folder(self, image: str) -> Path:
        """Return the folder that the names of inputs are relative to."""
        return self.prepared.origins[image].absolute().parent if image in self.prepared.origins else Path.cwd()

    def _inputs(self, image: str, made: Made) -> Iterator[Resource]:
        folder, origin = self._folder(image), self.prepared.origins.get(image)
        if origin is not None and origin in self.prepared.recipes:
            yield _file(origin, folder)
        for source in made.sources():
            if source.path.is_dir():
                name = named(source.path, folder)
                # Of a folder that is kept as it is, modes and owners count.
                own = {TREES[source.kept]: self.runner.source(source).digest}
                root = self.prepared.images[image].root
                tag = root.tag if source.path == root.tree else None
                image_of = image_digest(source.path, tag) if is_layout(source.path) else ""
                contents = sums.directory_hash(source.path)
                yield resource(name, uri=file_uri(name), sha256=image_of, dirHash=contents, **own)
            else:
                yield _file(source.path, folder)


def _file(path: Path, folder: Path) -> Resource:
    name = named(path, folder)
    return resource(name, uri=file_uri(name), sha256=sums.sha256(path))


def _grub(made: Made) -> tuple[str, str] | None:
    """Return GRUB's version, and the SHA-256 of what lies of it before the first partition."""
    core = made.core()
    return None if core is None else (made.tools()["grub"].partition(",")[0], sums.sha256(core))


def _tool(tool: tuple[str, str]) -> Resource:
    """Return a tool by its version; package-url/purl-spec's type generic, as nobody tells who packed it."""
    name, line = tool
    match = _VERSION.search(line)
    return resource(name, uri=f"pkg:generic/{name}@{match[0] if match else 'unknown'}")
