"""What the browser tests share: Chromium, a server on this machine, and what a picture on a page shows."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import io
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "book" / "_sphinx"), str(ROOT / "tools")]
import noise_lab  # noqa: E402

import pdf  # noqa: E402

AXE = noise_lab.Package(
    "axe-core", "4.14.1", "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
    {"axe": "package/axe.min.js"},
)  # fmt: skip
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


def absent(what: str) -> None:
    """Skip the test for want of ``what``; fail instead where ``COURSE_BROWSER_REQUIRED`` is 1, as on a CI machine."""
    if os.environ.get("COURSE_BROWSER_REQUIRED") == "1":
        pytest.fail(f"{what} (COURSE_BROWSER_REQUIRED is 1)")
    pytest.skip(what)


def find_browser() -> str:
    """The path of Chromium or Chrome: ``COURSE_BROWSER``, or the first of the usual names."""
    try:
        return pdf.browser()
    except pdf.PrintError as error:
        absent(str(error))


@contextmanager
def chromium(flags: tuple[str, ...] = QUIET) -> Iterator:
    """Playwright's Browser, headless."""
    executable = find_browser()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is not installed: pip install 'course-lib[test]'")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=flags, timeout=180_000)
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


def built_site() -> Path:
    """The folder of the built site; the test is skipped where there is none."""
    folder = Path(os.environ.get("COURSE_SITE") or ROOT / "_build" / "html").resolve()
    if not (folder / "index.html").is_file():
        absent(f"there is no site in {folder}: run `make book` first, or set COURSE_SITE to a folder that has one")
    return folder


@contextmanager
def reached(folder: Path, way: str) -> Iterator[str]:
    """Where a folder begins, as one opens it (``"file"``) or on a server (``"http"``)."""
    if way == "file":
        yield folder.as_uri()
    else:
        with served(folder) as address:
            yield address


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


LEVELS = """async shown => {
    if (shown.decode) await shown.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [shown.naturalWidth ?? shown.width, shown.naturalHeight ?? shown.height];
    const context = canvas.getContext("2d");
    context.drawImage(shown, 0, 0);
    const {data, width, height} = context.getImageData(0, 0, canvas.width, canvas.height);
    let text = "";
    for (let i = 0; i < data.length; i += 32768) text += String.fromCharCode(...data.subarray(i, i + 32768));
    return [width, height, btoa(text)];
}"""


def levels(shown) -> np.ndarray:
    """The pixels that an ``<img>``, once it is decoded, or a ``<canvas>`` shows: uint8 ``(H, W, 3)``, as the browser has them."""
    shown.evaluate("e => { if (e.tagName === 'IMG') e.loading = 'eager'; }")  # one further down the page would never be decoded
    width, height, text = shown.evaluate(LEVELS)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3]


def levels_of(content: bytes) -> np.ndarray:
    """The pixels of a picture, uint8 ``(H, W, 3)``, as Pillow decodes it."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def pixels(shown) -> dict:
    """Width, height and a digest of the pixels that an ``<img>`` or a ``<canvas>`` shows, and how rough they are.

    ``roughness`` is the mean difference of neighbouring pixels in the left third, which is the noisy photo of a noise lab.
    """
    found = levels(shown)
    left = found[:, : found.shape[1] // 3 - 4, 0].astype(float)
    return {
        "width": found.shape[1],
        "height": found.shape[0],
        "digest": hashlib.sha256(found.tobytes()).hexdigest(),
        "roughness": np.abs(np.diff(left, axis=1)).mean(),
    }


def complaints(page, place: str, rules: list[str] | None = None) -> list[str]:
    """What axe-core finds serious or critical in the element that ``place`` selects, by some of its rules, or by all."""
    if not page.evaluate("() => Boolean(window.axe)"):
        try:
            script = noise_lab.unpacked(AXE)["axe"].decode()
        except noise_lab.VendorError as error:
            absent(f"axe-core cannot be had: {error}")
        page.evaluate(script)
    # without preload it asks for no style sheet, which a page from a file may not read
    options = {"resultTypes": ["violations"], "preload": False, **({"runOnly": rules} if rules else {})}
    found = page.evaluate("([place, options]) => axe.run(place, options)", [place, options])["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:120]}"
        for rule in found if rule["impact"] in ("serious", "critical") for node in rule["nodes"]
    ]  # fmt: skip
