"""The page of a run, in a real Chromium: what it shows, how it sifts and sorts, and what it never does."""

from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from imagekit.report import render
from imagekit.run import ArtifactRecord, Failure, Run, StepRecord
from tests.browsing import CONTRAST, chromium, requests, said
from tests.report.farm import BEGUN, BOOT, IMAGES, farm

pytestmark = pytest.mark.xdist_group("report")
EVIL = "\"><img src=x onerror=document.title='owned'><script>document.title='owned'</script>\u202e' \x1b]0;x\x07"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(farm()), "utf-8")
    return path.as_uri()


def opened(browser: webdriver.Chrome, address: str) -> None:
    for kind in ("browser", "performance"):
        said(browser, kind)
    browser.get("about:blank")
    browser.get(address)


def shown(browser: webdriver.Chrome, table: str) -> list[list[str]]:
    """Return the rows of a table that are not sifted out, as lists of texts."""
    script = """return [...document.querySelectorAll(`#${arguments[0]} tbody tr:not([hidden])`)]
        .map((row) => [...row.cells].map((cell) => cell.innerText))"""
    found: list[list[str]] = browser.execute_script(script, table)
    return found


def test_all_of_a_run_is_told(browser: webdriver.Chrome, page: str) -> None:
    opened(browser, page)
    assert said(browser, "browser") == []
    assert {address.split(":")[0] for address in requests(browser)} <= {"file", "data", "about"}
    assert browser.title == "8 made, 5 cached, 1 failed and 1 skipped · imagekit report"
    text = browser.find_element(By.TAG_NAME, "main").text
    for expected in (
        *IMAGES,
        "2 artifacts of 15 failed",
        "no room is left in out",
        "out has 12 KiB, 2 MiB are wanted",
        "eu-west-1",
        "ami-0f3d6f1143b69c990",
        "builder-3",
        "with memory set",
        "builder-2 has no KVM",
    ):
        assert expected in text
    assert len(shown(browser, "artifacts")) == 15
    assert len(browser.find_elements(By.CSS_SELECTOR, ".bars")) == 3
    assert len(browser.find_elements(By.CSS_SELECTOR, ".bars rect")) == len(farm().steps)
    assert len(browser.find_elements(By.CSS_SELECTOR, ".item .map svg .k-kernel")) == 13


def test_bars_lie_where_their_steps_did(browser: webdriver.Chrome, page: str) -> None:
    """In a lane no two bars of a row overlap, and a bar's length is its step's time."""
    opened(browser, page)
    run = farm()
    seconds = max(run.ended, *(step.begun + step.seconds for step in run.steps)) - run.begun
    script = """return [...document.querySelectorAll(".bars")].map((lane) => [...lane.querySelectorAll("rect")]
        .map((bar) => ["x", "y", "width"].map((name) => Number(bar.getAttribute(name)))))"""
    lanes = browser.execute_script(script)
    for lane, machine in zip(lanes, ("builder-1", "builder-2", "builder-3"), strict=True):
        wanted = sorted(
            step.seconds for step in run.steps if step.machine.startswith(machine) and step.seconds > 0.1
        )
        widths = sorted(width * seconds / 1000 for _, _, width in lane)[-len(wanted) :]
        assert widths == pytest.approx(wanted, abs=0.01)
        for row in {y for _, y, _ in lane}:
            bars = sorted((x, x + width) for x, y, width in lane if y == row and width > 3)
            assert all(end <= start + 0.02 for (_, end), (start, _) in pairwise(bars))


def test_sifting(browser: webdriver.Chrome, page: str) -> None:
    opened(browser, page)
    sifter = browser.find_element(By.CSS_SELECTOR, '.sifter[data-rows="artifacts"]')
    find, output = sifter.find_element(By.TAG_NAME, "input"), sifter.find_element(By.TAG_NAME, "output")
    find.send_keys("DNS ebs")
    assert [row[:2] for row in shown(browser, "artifacts")] == [["dns", "ebs"]]
    assert output.text == "1 of 15"
    assert len(browser.find_elements(By.CSS_SELECTOR, ".item:not([hidden])")) == 1
    find.clear()
    find.send_keys(Keys.SPACE, Keys.BACKSPACE)
    assert output.text == "15 of 15"
    outcome, target = (Select(one) for one in sifter.find_elements(By.TAG_NAME, "select"))
    outcome.select_by_visible_text("made")
    target.select_by_visible_text("xen")
    assert {(row[1], row[2]) for row in shown(browser, "artifacts")} == {("xen", "✓ made")}
    assert output.text == "4 of 15"
    region = Select(browser.find_element(By.CSS_SELECTOR, '.sifter[data-rows="published"] select'))
    region.select_by_visible_text("us-east-1")
    assert [row[0] for row in shown(browser, "published")] == ["us-east-1"] * 4
    assert output.text == "4 of 15", "one table's sifter leaves the others alone"


def test_sorting(browser: webdriver.Chrome, page: str) -> None:
    opened(browser, page)
    heads = browser.find_elements(By.CSS_SELECTOR, "#artifacts th")
    size = next(head for head in heads if head.text.startswith("size"))
    button = size.find_element(By.TAG_NAME, "button")
    button.send_keys(Keys.ENTER)
    assert size.get_attribute("aria-sort") == "ascending"
    sizes = [row[3] for row in shown(browser, "artifacts")]
    assert sizes[:4] == ["", "", "2 MiB", "2 MiB"]
    assert sizes[-2:] == ["3 GiB", "5 GiB"]
    button.send_keys(Keys.SPACE)
    assert size.get_attribute("aria-sort") == "descending"
    assert [row[3] for row in shown(browser, "artifacts")] == sorted(sizes, key=sizes.index, reverse=True)
    heads[0].find_element(By.TAG_NAME, "button").click()
    assert size.get_attribute("aria-sort") is None
    names = [row[0] for row in shown(browser, "artifacts")]
    assert names == sorted(names)


def test_a_link_opens_what_it_leads_to(browser: webdriver.Chrome, page: str) -> None:
    opened(browser, page)
    item = browser.find_element(By.ID, "a-0")
    assert item.get_attribute("open") is None
    browser.find_element(By.LINK_TEXT, "dns").send_keys(Keys.ENTER)
    assert item.get_attribute("open") is not None
    item.find_element(By.XPATH, ".//summary[text()='Console']").click()
    assert "listening on port 53" in item.find_element(By.TAG_NAME, "pre").text
    assert "kernels/dns.xen" in item.text
    ids = [
        row["href"] for row in browser.execute_script("return [...document.links].map((a) => ({href: a.hash}))")
    ]
    assert all(browser.find_elements(By.CSS_SELECTOR, href) for href in set(ids))


def test_a_bar_is_told_of(browser: webdriver.Chrome, page: str) -> None:
    opened(browser, page)
    script = """const bar = document.querySelector(".bars rect");
        bar.dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
        return [document.querySelector(".gantt .readout").textContent, bar.textContent]"""
    told, title = browser.execute_script(script)
    assert told == title
    assert "made in" in told


@pytest.mark.parametrize("width", [360, 1200])
def test_it_never_scrolls_sideways(browser: webdriver.Chrome, page: str, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    opened(browser, page)
    unfold = "for (const one of document.querySelectorAll('details')) one.open = true;"
    inner = browser.execute_script(unfold + "return [document.documentElement.scrollWidth, innerWidth]")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert inner == [width, width]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(browser: webdriver.Chrome, page: str, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    opened(browser, page)
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    pairs = browser.execute_script(CONTRAST)
    ground = browser.execute_script("return getComputedStyle(document.documentElement).backgroundColor")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert ground == {"light": "rgb(251, 250, 247)", "dark": "rgb(21, 21, 23)"}[scheme]
    assert len(pairs) > 300
    assert [pair for pair in pairs if pair[0] < 4.5] == []


def test_a_screen_reader_finds_its_way(browser: webdriver.Chrome, page: str) -> None:
    """By the browser's own tree for such programs: names of controls, tables and figures."""
    opened(browser, page)
    browser.execute_cdp_cmd("Accessibility.enable", {})
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    browser.execute_cdp_cmd("Accessibility.disable", {})
    named = {
        (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]
    }
    assert ("search", "Sift artifacts") in named
    assert ("table", "Artifacts") in named
    assert any(role == "image" and name.startswith("builder-1: ") for role, name in named)
    assert {name for role, name in named if role == "heading"} >= {"Artifacts", "Where the time went", "Published"}
    controls = [name for role, name in named if role in {"searchbox", "combobox", "button", "link"}]
    assert all(controls)


def hostile(words: str) -> Run:
    """Return a run in which every text is this one."""
    failure = Failure(brief=words, details=words, hint=words, code=1)
    boot = BOOT.model_copy(update={"way": words, "loader": words, "why": words, "console": words})
    run = farm()
    first = run.artifacts[0]
    publications = tuple(
        one.model_copy(update={"region": words, "result": words, "state": words}) for one in first.publications
    )
    disk = first.disk and first.disk.model_copy(
        update={
            "filesystems": (words,),
            "spans": tuple(s.model_copy(update={"label": words}) for s in first.disk.spans),
        }
    )
    texts = {
        "image": words,
        "target": words,
        "path": words,
        "digest": words,
        "kernel": words,
        "companions": (words,),
    }
    changed = {**texts, "boots": (boot,), "publications": publications, "disk": disk, "failure": failure}
    step = StepRecord(step=words, image=words, cached=False, begun=BEGUN, seconds=1, machine=words, reason=words)
    return run.model_copy(
        update={
            "artifacts": (
                first.model_copy(update=changed),
                ArtifactRecord(image=words, target=words, outcome="failed"),
            ),
            "steps": (step,),
            "failure": failure,
            "warnings": (words,),
            "inputs": (words,),
            "targets": (words,),
            "settings": (words,),
            "machine": words,
            "command": words,
        }
    )


def test_hostile_names_are_text(browser: webdriver.Chrome, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(hostile(EVIL)), "utf-8")
    opened(browser, path.as_uri())
    assert browser.title == "1 made and 1 failed · imagekit report"
    assert said(browser, "browser") == []
    assert browser.find_elements(By.CSS_SELECTOR, "main img, main script") == []
    assert "<img src=x onerror=" in browser.find_element(By.TAG_NAME, "main").text
    assert {address.split(":")[0] for address in requests(browser)} <= {"file", "data", "about"}


class Bones(HTMLParser):
    """The elements and attributes' names of a page, in order; and whether any is ours no longer."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


def bones(page: str) -> list[tuple[str, tuple[str, ...]]]:
    parser = Bones()
    parser.feed(page)
    parser.close()
    return parser.found


PLAIN = bones(render(hostile("plain")))


@settings(max_examples=60)
@given(st.text(st.sampled_from("<>&\"'`=/ -!x\n\0\u202e]\\") | st.characters(), min_size=1, max_size=40))
def test_no_text_makes_an_element(words: str) -> None:
    """Whatever a record says, the page has the elements and attributes that it has with plain words."""
    assert bones(render(hostile(words))) == PLAIN


def test_a_page_has_its_bones() -> None:
    page = render(farm())
    assert page.startswith('<!DOCTYPE html><html lang="en">')
    assert page.count("<h1>") == 1
    assert "default-src 'none'" in page
    for never in ("http:", "https:", " onclick", "@import", "url("):
        assert never not in page


def test_a_great_run_makes_a_page_that_opens(browser: webdriver.Chrome, tmp_path: Path) -> None:
    run = farm()
    artifacts = tuple(
        one.model_copy(update={"image": f"{one.image}-{number}"}) for number in range(67) for one in run.artifacts
    )
    steps = tuple(step for _ in range(54) for step in run.steps)
    path = tmp_path / "report.html"
    path.write_text(render(run.model_copy(update={"artifacts": artifacts, "steps": steps})), "utf-8")
    assert path.stat().st_size < 8_000_000
    opened(browser, path.as_uri())
    find = browser.find_element(By.CSS_SELECTOR, ".sifter input")
    find.send_keys("dns-66 xen")
    assert [row[:2] for row in shown(browser, "artifacts")] == [["dns-66", "xen"]]
    assert "not drawn" in browser.find_element(By.CSS_SELECTOR, ".gantt .readout").text


def test_a_run_that_made_nothing() -> None:
    empty = Run(command="build", inputs=("app.xen",), begun=BEGUN, ended=BEGUN, code=0)
    assert "Nothing to make" in render(empty)
    broken = empty.model_copy(update={"code": 2, "failure": Failure(brief="app.xen: no such file", code=2)})
    assert "app.xen: no such file" in render(broken)
    assert "<h1>Nothing made</h1>" in render(broken)
