"""The page, in a real Chromium: what it shows, and what it never does."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from imagekit.inspect import html, inspect
from imagekit.inspect.report import Entry, Kernel, Kind, Menu, Partition, Report, Segment, Table
from tests.browsing import CONTRAST, chromium, requests, said

MakeDisk = Callable[..., Path]
EVIL = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
MENU = b"default 0\ntimeout 0\ntitle <b>app</b>\nroot (hd0,0)\nkernel /boot/app.xen\n"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture
def report(make_disk: MakeDisk, kernels: Path) -> Report:
    files = {
        "boot/app.xen": (kernels / "hello.xen").read_bytes(),
        "boot/grub/menu.lst": MENU,
        EVIL.replace("/", "\u2215"): b"x",
        "w" * 250: b"a long name",
    }
    return inspect(make_disk(files, table="mbr"))


def opened(browser: webdriver.Chrome, folder: Path, report: Report) -> None:
    page = folder / "page.html"
    page.write_text(html.render(report), "utf-8")
    for kind in ("browser", "performance"):
        said(browser, kind)
    browser.get(page.as_uri())


def test_a_disk_in_a_browser(browser: webdriver.Chrome, tmp_path: Path, report: Report) -> None:
    opened(browser, tmp_path, report)
    assert said(browser, "browser") == []
    assert {address.split(":")[0] for address in requests(browser)} <= {"file", "data"}
    text = browser.find_element(By.TAG_NAME, "main").text
    for expected in ("disk.img", "Boots under pygrub and Amazon PV-GRUB", "1234abcd", "ext2", "/boot/app.xen"):
        assert expected in text
    assert len(browser.find_elements(By.CSS_SELECTOR, "svg .k-kernel")) == 1
    assert browser.title == "disk.img · imagekit inspect"


def test_hostile_names_are_text(browser: webdriver.Chrome, tmp_path: Path, report: Report) -> None:
    opened(browser, tmp_path, report)
    assert browser.title == "disk.img · imagekit inspect"
    assert browser.find_elements(By.CSS_SELECTOR, "main img, main script, main b") == []
    assert "<img src=x onerror=" in browser.find_element(By.TAG_NAME, "main").text
    assert "<b>app</b>" in browser.find_element(By.TAG_NAME, "main").text


@pytest.mark.parametrize("width", [360, 1200])
def test_it_never_scrolls_sideways(browser: webdriver.Chrome, tmp_path: Path, report: Report, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    opened(browser, tmp_path, report)
    inner = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert inner == [width, width]


def test_parts_are_walked_by_keys(browser: webdriver.Chrome, tmp_path: Path, report: Report) -> None:
    opened(browser, tmp_path, report)
    readout = browser.find_element(By.ID, "readout")
    first = browser.find_element(By.CSS_SELECTOR, ".part")
    first.send_keys("")
    assert "MBR" in readout.text
    first.send_keys(Keys.ARROW_LEFT)  # nothing lies before the first
    first.send_keys(Keys.ARROW_RIGHT)
    second = browser.switch_to.active_element
    assert second.get_attribute("tabindex") == "0"
    assert readout.text == second.get_attribute("title")
    assert float(browser.find_element(By.ID, "cursor").get_attribute("width") or 0) > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(
    browser: webdriver.Chrome, tmp_path: Path, report: Report, scheme: str
) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    opened(browser, tmp_path, report)
    pairs = browser.execute_script(CONTRAST)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert pairs
    assert [pair for pair in pairs if pair[0] < 4.5] == []


def test_a_page_has_its_bones(report: Report) -> None:
    page = html.render(report)
    assert page.startswith('<!DOCTYPE html><html lang="en">')
    assert page.count("<h1>") == 1
    assert "default-src 'none'" in page
    assert 'aria-label="The disk to scale, 10 MiB"' in page
    assert "http:" not in page
    assert "https:" not in page


def test_a_kernel_alone(browser: webdriver.Chrome, tmp_path: Path, kernels: Path) -> None:
    opened(browser, tmp_path, inspect(kernels / "hello-pvh.xen"))
    assert said(browser, "browser") == []
    text = browser.find_element(By.TAG_NAME, "main").text
    assert "PVH kernel, 64-bit ELF" in text
    assert "it has no entry for PV, only for PVH" in text


def test_a_great_disk_makes_a_small_page() -> None:
    files = tuple(Segment(at << 20, 1 << 20, (Kind.FILE, Kind.FREE)[at % 2], "/f" * 50) for at in range(8192))
    table = Table("gpt", "g", tuple(Partition(n, n << 20, 1 << 20, "Linux", "n" * 36) for n in range(128)))
    report = Report("big", "disk", 8 << 30, 1 << 30, table, segments=files, problems=("torn",))
    page = html.render(report)
    assert len(page) < 1_000_000
    assert "<strong>Problem</strong> torn" in page


def test_what_is_missing_is_said() -> None:
    menu = Menu("/grub.cfg", 0, "grub.cfg", 0, None, (Entry(""),), "hd0", ("odd",))
    kernel = Kernel("/k", 0, 1, "no kernel", problem="no kernel")
    page = html.render(Report("x", "disk", 4096, 4096, Table("none"), menus=(menu,), kernels=(kernel,)))
    for expected in ("(no title)", "<dd>none</dd>", "odd", "No boot loader is known to boot it."):
        assert expected in page
    alone = html.render(Report("x", "kernel", 1, 1, kernels=(kernel,)))
    assert "No way of booting it on Xen is known." in alone
