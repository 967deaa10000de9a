"""A real headless Chromium for tests of pages, and what it can be asked."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from selenium import webdriver

from imagekit.programs import find

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """Lend a browser that keeps its things in a folder; skip where there is none."""
    program, driver = find("chromium"), find("chromedriver")
    if not program or not driver:
        pytest.skip("chromium and chromium-driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS.split(), f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def said(browser: webdriver.Chrome, kind: str) -> list[str]:
    """Return what a log of the browser holds since it was last asked."""
    rows = cast("list[dict[str, str]]", browser.get_log(kind))  # type: ignore[no-untyped-call]
    return [row["message"] for row in rows]


def requests(browser: webdriver.Chrome) -> list[str]:
    """Return every address that the page asked for; the browser's own pages are not its."""
    messages = (json.loads(row)["message"] for row in said(browser, "performance"))
    return [
        cast("str", message["params"]["request"]["url"])
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
        and not message["params"]["request"]["url"].startswith("chrome")
    ]


# WCAG 2.2, 1.4.3: the contrast of every text with the nearest ground that is painted.
CONTRAST = r"""
const parse = (c) => c.match(/[\d.]+/g).map(Number);
const light = (c) => parse(c).slice(0, 3).map((v) => v / 255)
  .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (e) => {
  for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor;
    if (parse(c)[3] !== 0) return c;
  }
};
const found = [];
for (const e of document.querySelectorAll("main *:not(.said):not(title)")) {
  if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
  const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
  found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.className, e.textContent.slice(0, 30)]);
}
return found;
"""
