"""What the browser tests share: Chromium, a server on this machine, and what a picture on a page shows."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


def absent(what: str) -> None:
    """Skip the test for want of ``what``; fail instead where ``COURSE_BROWSER_REQUIRED`` is 1, as on a CI machine."""
    if os.environ.get("COURSE_BROWSER_REQUIRED") == "1":
        pytest.fail(f"{what} (COURSE_BROWSER_REQUIRED is 1)")
    pytest.skip(what)


def find_browser() -> str:
    """The path of Chromium or Chrome: ``COURSE_BROWSER``, or the first of the usual names."""
    chosen = os.environ.get("COURSE_BROWSER")
    for name in (chosen,) if chosen else NAMES:
        if found := shutil.which(name):
            return found
    absent(f"COURSE_BROWSER = {chosen} is no program" if chosen else
           f"no browser was found ({', '.join(NAMES)}): install chromium, or set COURSE_BROWSER to one")  # fmt: skip


@contextmanager
def chromium() -> Iterator:
    """Playwright's Browser, headless."""
    executable = find_browser()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is not installed: pip install 'course-lib[test]'")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=QUIET, timeout=180_000)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder over http on a free port of this machine; yields the address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *message):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def screenshot_of_failure(page, folder: Path) -> Iterator[None]:
    """Where the block fails, save what the page shows into ``folder``, and name the file in the message."""
    try:
        yield
    except Exception as error:
        file = folder / "failure.png"
        try:
            page.screenshot(path=file, timeout=60_000)
            error.add_note(f"What the browser showed: {file}")
        except Exception as another:  # a page that hangs has no picture; the first error is the one to report
            error.add_note(f"No screenshot could be taken: {another}")
        raise


PIXELS = """async image => {
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const {data, width, height} = context.getImageData(0, 0, canvas.width, canvas.height);
    let digest = 0, rough = 0, count = 0;
    const part = Math.floor(width / 3) - 4;
    for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++) {
            const i = 4 * (y * width + x);
            digest = (31 * digest + data[i] + 7 * data[i + 1] + 13 * data[i + 2]) % 4294967291;
            if (x < part) { rough += Math.abs(data[i] - data[i + 4]); count += 1; }
        }
    return {width, height, digest, roughness: rough / count};
}"""


def pixels(image) -> dict:
    """Width, height and a digest of the pixels that an ``<img>`` shows once it is decoded, and how rough they are.

    ``roughness`` is the mean difference of neighbouring pixels in the left third, which is the noisy photo of a noise lab.
    """
    return image.evaluate(PIXELS)
