"""The noise lab by WebGL in a real browser that computes it in software: its numbers, when it is taken, and what happens when it is lost.

Software takes about a second for 32×32 pixels, so the pictures are small.
"""

from __future__ import annotations

import base64

import browser
import noise_lab
import numpy as np
import pytest
import torch
from test_browser_noise_lab import BEGIN, DENOISE, SHOWN, agrees, coded, encoded, networks, pick, said, scene, settled, site, visited  # noqa: F401

SOFTWARE = (*(flag for flag in browser.QUIET if flag != "--disable-gpu"),
            "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")  # fmt: skip
SHOWS = "Shown: what FFDNet computes in this browser, by {}."
FAST, LOST, HUNG, WITHOUT = 18, 28, 30, 22  # widths of pictures at which the following happens in a worker

# the worker by WebAssembly is told that the software is a graphics card, and at a width that there is none
NAMED = f"""WebGL2RenderingContext.prototype.getParameter = () => "a graphics card";
addEventListener("message", ({{data}}) => {{ if (data.width === {WITHOUT}) delete self.OffscreenCanvas; }});"""

# of the worker by WebGL the clock stands, or its graphics card is lost; at HUNG before a job begins
LOSING = f"""addEventListener("message", (event) => {{
    const {{kind, width}} = event.data;
    if (kind === "prove" && width === {FAST}) performance.now = () => 0;
    if (kind !== "denoise" || ![{LOST}, {HUNG}].includes(width)) return;
    if (width === {HUNG}) event.stopImmediatePropagation();
    setTimeout(() => tf.backend().gpgpu.gl.getExtension("WEBGL_lose_context").loseContext(), 100);
}});"""

HALF = "tf.env().set('WEBGL_FORCE_F16_TEXTURES', true);"

TRY = """async ([width, wish]) => {
    if (!window.seen) {
        window.seen = [];
        noiseLabEngine.watch((backend) => seen.push(backend));
    }
    await noiseLabEngine.network("gray");
    const noisy = Float32Array.from({length: width * 8}, (_, i) => Math.sin(i * i));
    await noiseLabEngine.denoise({name: "gray", noisy, map: noisy.map(() => 0.1), width, height: 8});
    return wish && noiseLabEngine.prefer(wish);
}"""


@pytest.fixture(scope="module")
def software():
    with browser.chromium(SOFTWARE) as started:
        yield started


def altered(page, name: str, code: str) -> None:
    """A backend of TensorFlow.js comes to this page with a script behind it."""
    content = noise_lab.script(name, noise_lab.tensorflow()[name] + f"\n;{code}".encode())
    page.route(f"**/lab/{name}.js", lambda route: route.fulfill(body=content, content_type="text/javascript"))


def denoised(page, name: str, noisy: torch.Tensor, told: torch.Tensor, side: int | None = None) -> np.ndarray:
    job = {"name": name, "noisy": coded(noisy), "map": coded(told), "width": noisy.shape[-1], "height": noisy.shape[-2], "side": side}
    answer = page.evaluate(DENOISE, job)
    return np.frombuffer(base64.b64decode(answer["denoised"]), np.float32).reshape(noisy.shape)


def test_software_is_not_taken_but_where_it_is_wished_for_its_numbers_are_those_of_pytorch(site, software, networks, tmp_path):  # noqa: F811
    """Gray and colour, of odd sides and in tiles; nothing of it is loaded before the wish. From a file."""
    with visited(software, f"{site.as_uri()}/engine.html", tmp_path) as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
        assert page.evaluate(TRY, [16, "automatic"]) == "this browser has no WebGL 2 of a graphics card" and "tf-webgl.js" not in asked
        assert page.evaluate(TRY, [16, "webgl"]) == "" and page.evaluate("seen") == ["wasm", "webgl"]
        generator = torch.Generator().manual_seed(0)
        for name, channels, height, width, side in (("gray", 1, 15, 20, None), ("colour", 3, 14, 18, 16)):
            clean = torch.rand(1, channels, height, width, generator=generator)
            told = torch.linspace(0, 0.3, width).expand(1, 1, height, width).contiguous()
            noisy = clean + told * torch.randn(clean.shape, generator=generator)
            found = denoised(page, name, noisy, told, side)
            assert np.abs(found - networks[name].denoise(noisy, told).numpy()).max() < 1e-3
            assert np.abs(found - noisy.numpy()).max() > 0.05, "nothing was denoised"
        assert page.evaluate("seen") == ["wasm", "webgl"], "it was WebGL that computed this"


def test_a_card_is_taken_if_it_is_fast_and_when_it_is_lost_webassembly_goes_on(site, software, networks, tmp_path):  # noqa: F811
    """With the job that was running, which is whole in the end; one that was to stop stops. ``visited`` sees that no error is logged."""
    generator = torch.Generator().manual_seed(0)
    noisy, told = torch.rand(1, 1, 40, LOST, generator=generator), torch.full((1, 1, 40, LOST), 0.2)
    with browser.served(site) as address, visited(software, f"{address}/engine.html", tmp_path) as page:
        altered(page, "tf-wasm", NAMED)
        altered(page, "tf-webgl", LOSING)
        page.evaluate(TRY, [FAST, None])
        page.wait_for_function("seen.includes('card')")
        found = denoised(page, "gray", noisy, told, 16)
        assert page.evaluate("seen") == ["wasm", "card", "wasm"]
        assert np.abs(found - networks["gray"].denoise(noisy, told).numpy()).max() < 1e-3
        assert page.evaluate(TRY, [16, "automatic"]) == "it is not faster"
        assert page.evaluate(TRY, [16, "webgl"]) == ""
        ended = page.evaluate(
            """async (width) => {
                const planes = new Float32Array(16 * width);
                const job = noiseLabEngine.denoise({name: "gray", noisy: planes, map: planes, width, height: 16});
                noiseLabEngine.stop();
                const {stopped, tiles} = await job;
                return [stopped, tiles];
            }""",
            HUNG,
        )
        assert ended == [True, 0] and page.evaluate("seen") == ["wasm", "card", "wasm", "webgl", "wasm"]


def test_half_precision_is_not_taken(site, software, tmp_path):  # noqa: F811
    with browser.served(site) as address, visited(software, f"{address}/engine.html", tmp_path) as page:
        altered(page, "tf-webgl", HALF)
        assert page.evaluate(TRY, [16, "webgl"]) == "it gives other numbers" and page.evaluate("seen") == ["wasm"]


def test_the_reader_chooses_and_the_page_says_what_computes(site, software, networks, tmp_path):  # noqa: F811
    def chosen(width: int, wish: str) -> None:
        photo = {"name": f"{width}.png", "mimeType": "", "buffer": encoded(scene(width, 16), "PNG")}
        page.get_by_label("or your own").set_input_files(photo)
        page.wait_for_function("name => noiseLabState().photo === name && noiseLabState().result", arg=photo["name"])
        computed_by.select_option(wish)

    with browser.served(site) as address, visited(software, f"{address}/page.html", tmp_path) as page:
        altered(page, "tf-wasm", NAMED.splitlines()[1])
        shown, computed_by = page.locator(SHOWN), pick(page, "Computed by")
        page.locator(BEGIN).click()
        settled(page)
        assert shown.inner_text() == SHOWS.format("WebAssembly") and computed_by.input_value() == "automatic"
        chosen(20, "webgl")
        page.wait_for_function("place => document.querySelector(place).textContent.includes('WebGL')", arg=SHOWN)
        assert shown.inner_text() == SHOWS.format("WebGL")
        agrees(page, networks)
        assert browser.complaints(page, "main") == []
        computed_by.select_option("wasm")
        assert shown.inner_text() == SHOWS.format("WebAssembly")
        agrees(page, networks)
        chosen(WITHOUT, "webgl")
        assert said(page, "cannot be used") == "WebGL cannot be used: this browser has no WebGL 2. WebAssembly goes on."
        assert computed_by.input_value() == "wasm"
