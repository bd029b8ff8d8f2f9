"""`make docs-check`: open every page of the built site in headless Chromium, without a network, and look at it.

The site is served from this machine, and the browser can resolve no other name. Each page is opened at the width of a
telephone and then widened to that of a desk: all formulas are typeset without an error, all pictures are there, nothing
was asked for in vain or from another host, the console is quiet, the page does not scroll sideways and its text is not
small. Links inside the site, with their anchors, are checked from the files. Links to other hosts are listed, not
opened.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

SITE = Path(__file__).resolve().parent / "_build" / "html"
WIDTHS = {"telephone": 390, "desk": 1280}  # CSS pixels
HEIGHT = 844
LEAST_FONT_SIZE = 14.0  # CSS pixels, of running text
SECONDS_A_PAGE = 120  # a busy machine is no fault of the page
CHROMIUM = "/usr/bin/chromium"
DRIVER = "/usr/bin/chromedriver"

LOOK_AT_PAGE = """
const done = arguments[arguments.length - 1];
const look = () => {
    const sources = [...document.querySelectorAll('.math')];
    const text = document.querySelector('article p') || document.body;
    const images = [...document.images];
    const typeset = sources.length ? [...MathJax.startup.document.math] : [];
    const marksOfErrors = 'mjx-merror, [style*="color: red"]';  // an unknown command is shown in red
    images.forEach(image => { image.loading = 'eager'; });
    Promise.all(images.map(image => image.decode().catch(() => null))).then(() => done({
        formulas: sources.length,
        raw: sources.filter(source => !source.querySelector('mjx-container')).map(s => s.textContent.slice(0, 80)),
        errors: typeset.filter(item => item.typesetRoot.querySelector(marksOfErrors)).map(item => item.math),
        pictures: images.length,
        missing: images.filter(image => image.naturalWidth === 0).map(image => image.src),
        sideways: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        width: window.innerWidth,
        font: parseFloat(getComputedStyle(text).fontSize),
    }));
};
if (!document.querySelector('.math')) { look(); }
else if (!window.MathJax || !MathJax.startup || !MathJax.startup.promise) { done({broken: 'MathJax did not load'}); }
else { MathJax.startup.promise.then(look).catch(error => done({broken: String(error)})); }
"""


# ---------------------------------------------------------------------------------------------------------------------
# Links, from the files
# ---------------------------------------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = {"", "top"}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name in ("href", "src"):
                self.links.append(value)
            elif name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)


def read_pages(site: Path) -> dict[Path, _Page]:
    """All pages of the site, by their files."""
    pages = {}
    for path in sorted(site.rglob("*.html")):
        if "_static" in path.relative_to(site).parts:
            continue
        pages[path.resolve()] = page = _Page()
        page.feed(path.read_text(encoding="utf-8"))
    return pages


def broken_links(pages: dict[Path, _Page]) -> list[str]:
    """Links to a file, or to an anchor in a page, that does not exist."""
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                broken.append(f"{path.name}: {link}: no such file")
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                broken.append(f"{path.name}: {link}: no such anchor")
    return broken


def other_hosts(pages: dict[Path, _Page]) -> list[str]:
    """Links that leave the site."""
    return sorted({link for page in pages.values() for link in page.links if urlsplit(link).netloc})


# ---------------------------------------------------------------------------------------------------------------------
# Pages, in the browser
# ---------------------------------------------------------------------------------------------------------------------


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the browser's own log is read."""


@contextmanager
def served(site: Path) -> Iterator[str]:
    """Serve the folder on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_QuietHandler, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Headless Chromium that can resolve no host name."""
    options = Options()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",  # containers run as root
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(SECONDS_A_PAGE)
    driver.set_script_timeout(SECONDS_A_PAGE)
    try:
        yield driver
    finally:
        driver.quit()


def set_width(driver: webdriver.Chrome, device: str) -> None:
    """Make the window as wide as a device's; on a telephone scroll bars take no room."""
    metrics = {"width": WIDTHS[device], "height": HEIGHT, "deviceScaleFactor": 1, "mobile": device == "telephone"}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def look(driver: webdriver.Chrome, host: str, device: str) -> tuple[dict[str, Any], list[str]]:
    """Look at the open page; return what was seen and what is wrong with it."""
    set_width(driver, device)
    seen = driver.execute_async_script(LOOK_AT_PAGE)
    if "broken" in seen:
        return seen, [seen["broken"]]
    wrong = [f"formula not typeset: {text}" for text in seen["raw"]]
    wrong += [f"formula with an error: {text}" for text in seen["errors"]]
    wrong += [f"picture missing: {source}" for source in seen["missing"]]
    if seen["sideways"] > 0:
        wrong.append(f"scrolls sideways by {seen['sideways']} pixels")
    if seen["width"] != WIDTHS[device]:
        wrong.append(f"is {seen['width']} pixels wide, not {WIDTHS[device]}")
    if seen["font"] < LEAST_FONT_SIZE:
        wrong.append(f"text of {seen['font']} pixels")
    wrong += [f"console: {entry['message']}" for entry in driver.get_log("browser")]
    return seen, wrong + bad_requests(driver, host)


def bad_requests(driver: webdriver.Chrome, host: str) -> list[str]:
    """Requests since the last call that went elsewhere or came to nothing."""
    bad = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        parameters = message["params"]
        if message["method"] == "Network.requestWillBeSent":
            url = parameters["request"]["url"]
            if not url.startswith((host, "data:", "blob:")):
                bad.append(f"asks for {url}")
        elif message["method"] == "Network.responseReceived" and parameters["response"]["status"] >= 400:
            bad.append(f"status {parameters['response']['status']}: {parameters['response']['url']}")
    return bad


@dataclass
class Findings:
    """What was seen on a site and what is wrong with it."""

    pages: int = 0
    formulas: int = 0
    pictures: int = 0
    wrong: list[str] = field(default_factory=list)
    not_opened: list[str] = field(default_factory=list)


def findings(site: Path, screenshots: Path | None = None) -> Findings:
    """Check a built site; with a folder for screenshots, leave a picture of each page at each width there."""
    pages = read_pages(site)
    found = Findings(pages=len(pages), wrong=broken_links(pages), not_opened=other_hosts(pages))
    if screenshots:
        screenshots.mkdir(parents=True, exist_ok=True)
    with served(site) as host, browser() as driver:
        for path in pages:
            name = path.relative_to(site.resolve()).as_posix()
            set_width(driver, "telephone")
            driver.get(f"{host}/{name}")
            for device in WIDTHS:
                seen, wrong = look(driver, host, device)
                found.wrong += [f"{name} ({device}): {what}" for what in wrong]
                if screenshots:
                    stem = name.replace("/", "_").removesuffix(".html")
                    driver.save_screenshot(str(screenshots / f"{stem}_{device}.png"))
            found.formulas += seen.get("formulas", 0)
            found.pictures += seen.get("pictures", 0)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the site; return 1 if anything is wrong, 2 if there is no site or no browser."""
    parser = argparse.ArgumentParser(description="Look at every page of the built site in headless Chromium.")
    parser.add_argument("--site", type=Path, default=SITE)
    parser.add_argument("--screenshots", type=Path, help="folder for a picture of each page")
    options = parser.parse_args(arguments)
    for needed in (options.site / "index.html", Path(CHROMIUM), Path(DRIVER)):
        if not needed.exists():
            print(f"{needed} is not there (make docs; apt-get install chromium chromium-driver)", file=sys.stderr)
            return 2
    found = findings(options.site, options.screenshots)
    for link in found.not_opened:
        print(f"not opened: {link}")
    for line in found.wrong:
        print(line, file=sys.stderr)
    print(f"{found.pages} pages, {found.formulas} formulas, {found.pictures} pictures, {len(found.wrong)} faults")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
