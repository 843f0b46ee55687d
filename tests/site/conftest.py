"""A real browser for the tests of the site: the Chromium that is installed, from `make test-site`."""

import functools
import http.server
import shutil
import threading
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

SITE = Path(__file__).resolve().parents[2] / "build" / "site"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.exit("test-site: no Chromium here; install it (apt-get install chromium, brew install chromium)", 2)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server():
    """The address of a server on loopback that gives the site, as GitHub Pages does."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=SITE)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def open_page(browser):
    """open_page(address, width) -> a page whose `problems` are its console errors and its requests to the outside."""
    pages = []

    def open_one(address: str, width: int = 1280):
        page = browser.new_page(viewport={"width": width, "height": 900})
        pages.append(page)
        page.problems = []
        origin = address[: address.index("/", 8)] if address.startswith("http") else "file:"
        page.on("console", lambda message: message.type in ("error", "warning") and page.problems.append(message.text))
        page.on("pageerror", lambda problem: page.problems.append(str(problem)))
        page.on("request", lambda request: is_outside(request.url, origin) and page.problems.append(request.url))
        page.goto(address)
        return page

    yield open_one
    for page in pages:
        page.close()


def is_outside(url: str, origin: str) -> bool:
    return not url.startswith((origin, "data:", "blob:"))
