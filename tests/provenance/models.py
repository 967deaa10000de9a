"""in-toto's and SLSA's documents as strict models, written from their specifications."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Uri = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:\S+$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Resource(Strict):
    """in-toto/attestation, spec/v1/resource_descriptor.md."""

    name: str | None = None
    uri: Uri | None = None
    digest: dict[str, Sha256] | None = None
    content: str | None = None
    downloadLocation: Uri | None = None  # noqa: N815 -- the specification's
    mediaType: str | None = None  # noqa: N815
    annotations: dict[str, Any] | None = None

    @model_validator(mode="after")
    def says_which(self) -> "Resource":
        assert self.uri or self.digest or self.content, "one of uri, digest, content"
        return self


class BuildDefinition(Strict):
    buildType: Uri  # noqa: N815
    externalParameters: dict[str, Any]  # noqa: N815
    internalParameters: dict[str, Any]  # noqa: N815
    resolvedDependencies: list[Resource]  # noqa: N815


class Builder(Strict):
    id: Uri
    version: dict[str, str]
    builderDependencies: list[Resource] | None = None  # noqa: N815


class RunDetails(Strict):
    builder: Builder
    byproducts: list[Resource]


class Provenance(Strict):
    """slsa.dev/provenance/v1."""

    buildDefinition: BuildDefinition  # noqa: N815
    runDetails: RunDetails  # noqa: N815


class TestResult(Strict):
    """in-toto/attestation, spec/predicates/test-result.md, version 0.1."""

    __test__ = False

    result: Literal["PASSED", "WARNED", "FAILED"]
    configuration: list[Resource]
    passedTests: list[str]  # noqa: N815
    warnedTests: list[str]  # noqa: N815
    failedTests: list[str]  # noqa: N815


class Made(Strict):
    kind: str
    id: str
    region: str


class Published(Strict):
    receipt: Resource
    target: str
    region: str
    result: str
    resources: list[Made]
    proof: str
    rehearsed: bool
    begun: str
    ended: str


class Publication(Strict):
    """docs/reference/provenance.md, urn:imagekit:publication:v1."""

    publications: Annotated[list[Published], Field(min_length=1)]


class Statement(Strict):
    """in-toto/attestation, spec/v1/statement.md."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Annotated[list[Resource], Field(min_length=1)]
    predicateType: Uri  # noqa: N815
    predicate: dict[str, Any]

    @model_validator(mode="after")
    def holds(self) -> "Statement":
        assert all(one.digest for one in self.subject), "each subject has a digest"
        assert len({one.name for one in self.subject}) == len(self.subject), "names are unique"
        PREDICATES[self.predicateType].model_validate(self.predicate)
        return self


PREDICATES: dict[str, type[Strict]] = {
    "https://slsa.dev/provenance/v1": Provenance,
    "https://in-toto.io/attestation/test-result/v0.1": TestResult,
    "urn:imagekit:publication:v1": Publication,
}
