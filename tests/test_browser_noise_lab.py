"""The noise lab in a real browser: its networks give PyTorch's numbers, on a server and from a file.

The page is made here, of what the site is made of; that the site has it whole is for ``test_browser_site``.
"""

from __future__ import annotations

import base64
import sys
from contextlib import contextmanager

import browser
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course_lib import runs

sys.path.append(str(browser.ROOT / "book" / "_sphinx"))
import noise_lab  # noqa: E402

HEAD = (
    '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    '<link rel="icon" href="data:,">'
)
SCRIPTS = "".join(f'<script src="lab/{name}.js"></script>' for name in ("manifest", "engine"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    if why := noise_lab.write(folder / "lab"):
        browser.absent(f"the noise lab has no TensorFlow.js: {why}")
    (folder / "engine.html").write_text(f"{HEAD}<title>engine</title>{SCRIPTS}")
    return folder


@pytest.fixture(scope="module")
def chrome():
    with browser.chromium() as started:
        yield started


@pytest.fixture(scope="module", params=["http", "file"])
def address(request, site):
    if request.param == "file":
        yield site.as_uri()
    else:
        with browser.served(site) as served:
            yield served


@contextmanager
def visited(chrome, url, folder, **options):
    """A page; what it asks for lies beside it, and it logs no error."""
    context = chrome.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(120_000)
    requests, errors = [], []
    context.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(error.message))
    try:
        with browser.screenshot_of_failure(page, folder):
            page.goto(url)
            yield page
            home = url.rpartition("/")[0]
            assert [r[:100] for r in requests if not r.startswith((home, "data:", "blob:"))] == []
            assert errors == []
    finally:
        context.close()


DENOISE = """async ({name, noisy, map, width, height, side}) => {
    const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
    await noiseLabEngine.network(name);
    const seen = [];
    const found = await noiseLabEngine.denoise({name, noisy: floats(noisy), map: floats(map), width, height, side},
                                               ({done, total}) => seen.push([done, total]));
    const bytes = new Uint8Array(found.denoised.buffer);
    let text = "";
    for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    return {denoised: btoa(text), seen, stopped: found.stopped};
}"""


def coded(values: torch.Tensor) -> str:
    return base64.b64encode(values.numpy().tobytes()).decode()


@pytest.fixture(scope="module")
def networks():
    return {name: runs.shipped(recipe) for name, recipe in noise_lab.NETWORKS.items()}


@pytest.mark.parametrize("name", ["gray", "colour"])
@pytest.mark.parametrize(("height", "width", "side", "tiles"), [(96, 64, None, 1), (75, 61, None, 1), (131, 150, 64, 9), (2, 3, None, 1)])
def test_numbers_are_those_of_pytorch(name, height, width, side, tiles, address, chrome, networks, tmp_path):
    """Also of odd sides, of tiles, and told another σ at each pixel."""
    generator, channels = torch.Generator().manual_seed(0), 1 if name == "gray" else 3
    clean = F.interpolate(torch.rand(1, channels, 1 + height // 8, 1 + width // 8, generator=generator), (height, width), mode="bilinear")
    told = torch.linspace(0, 0.3, width).expand(1, 1, height, width).contiguous()
    noisy = clean + told * torch.randn(clean.shape, generator=generator)
    with visited(chrome, f"{address}/engine.html", tmp_path) as page:
        job = {"name": name, "noisy": coded(noisy), "map": coded(told), "width": width, "height": height, "side": side}
        answer = page.evaluate(DENOISE, job)
    found = np.frombuffer(base64.b64decode(answer["denoised"]), np.float32).reshape(noisy.shape)
    expected = networks[name].denoise(noisy, told).numpy()
    assert np.abs(found - noisy.numpy()).max() > 0.1, "nothing was denoised"
    assert np.abs(found - expected).max() < 1e-3
    assert answer["seen"] == [[i + 1, tiles] for i in range(tiles)] and not answer["stopped"]


def test_a_job_is_stopped_and_another_takes_its_place(address, chrome, tmp_path):
    with visited(chrome, f"{address}/engine.html", tmp_path) as page:
        stopped, superseded, last = page.evaluate(
            """async () => {
                await noiseLabEngine.network("gray");
                const job = {name: "gray", noisy: new Float32Array(9216), map: new Float32Array(9216).fill(0.1), width: 96, height: 96};
                const stopped = await noiseLabEngine.denoise({...job, side: 16}, ({done}) => done === 2 && noiseLabEngine.stop());
                const first = noiseLabEngine.denoise({...job, side: 16});
                const last = await noiseLabEngine.denoise(job);
                return [stopped, await first, last].map(({stopped, superseded, tiles}) => [stopped, Boolean(superseded), tiles ?? 0]);
            }"""
        )
    assert stopped[:2] == [True, False] and 2 <= stopped[2] < 36
    assert superseded[:2] == [True, True] and last == [False, False, 1]


def test_an_asset_that_is_missing_is_named_and_may_be_asked_for_again(site, chrome):
    """A connection that failed once does not spoil the page."""
    with browser.served(site) as address:
        page = chrome.new_page()
        try:
            page.goto(f"{address}/engine.html")
            page.route("**/lab/weights-gray.js", lambda route: route.abort(), times=1)
            said = page.evaluate("noiseLabEngine.network('gray').then(() => '', (error) => error.message)")
            assert said == "the file lab/weights-gray.js could not be loaded"
            assert page.evaluate("noiseLabEngine.network('gray')")["channels"] == 1
        finally:
            page.close()
