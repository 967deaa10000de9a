"""The figures of a run, as Prometheus's own parser reads them."""

from prometheus_client.parser import text_string_to_metric_families

from imagekit.run.metrics import exposition
from tests.conftest import ROOT
from tests.report.farm import farm


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_it_says_what_the_record_says() -> None:
    run = farm()
    found = samples(exposition(run).decode())
    cached = [step for step in run.steps if step.cached]
    assert found["imagekit_build_exit_code", ()] == 1
    assert found["imagekit_build_begun_timestamp_seconds", ()] == run.begun
    assert found["imagekit_build_ended_timestamp_seconds", ()] == run.ended
    assert found["imagekit_build_step_cache_hits", ()] == len(cached) == 20
    assert found["imagekit_build_step_waits", ()] == 5
    assert found["imagekit_build_step_retries", ()] == 0
    assert found["imagekit_build_steps", (("outcome", "made"), ("step", "vhd"))] == 15
    assert found["imagekit_build_steps", (("outcome", "cached"), ("step", "disk"))] == 5
    disk = sum(step.seconds for step in run.steps if step.step == "disk")
    assert found["imagekit_build_step_seconds", (("step", "disk"),)] == disk
    outcomes = {
        name: found["imagekit_build_artifacts", (("outcome", name),)] for name in ("made", "cached", "failed")
    }
    assert outcomes == {"made": 8, "cached": 5, "failed": 1}
    assert found["imagekit_build_artifacts", (("outcome", "missing"),)] == 0
    length = sum(one.size for one in run.artifacts)
    assert found["imagekit_build_artifact_bytes", (("what", "length"),)] == length


def test_every_family_is_a_gauge_with_help() -> None:
    families = list(text_string_to_metric_families(exposition(farm()).decode()))
    assert len(families) == 13
    assert {family.type for family in families} == {"gauge"}
    assert all(family.documentation for family in families)
    assert all(family.samples for family in families)
    page = (ROOT / "docs" / "how-to" / "report.md").read_text()
    assert [family.name for family in families if f"`{family.name}`" not in page] == []


def test_labels_of_odd_names_are_read_back() -> None:
    odd = 'a"b\\c\nd{e="f"}'
    run = farm()
    steps = (run.steps[0].model_copy(update={"step": odd}),)
    changed = run.model_copy(update={"steps": steps, "machine": odd})
    found = samples(exposition(changed).decode())
    assert found["imagekit_build_steps", (("outcome", "made"), ("step", odd))] == 1
    assert (("command", "build"), ("machine", odd), ("version", "0.1.0")) in {labels for _, labels in found}
