"""The noise lab in a real browser: its networks give PyTorch's numbers, and its page shows what they compute, on a server and from a file.

The page is made here, of what the site is made of; that the site has it whole is for ``test_browser_site``.
"""

from __future__ import annotations

import base64
import io
import re
from contextlib import contextmanager

import browser
import noise_lab
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from course_lib import metrics, runs

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
    (folder / "page.html").write_text(page_of_the_book("noise_lab", "09_ffdnet", "noise-lab"), encoding="utf-8")
    (folder / "gallery.html").write_text(page_of_the_book("gallery_lab", "03_triplet", "figure-lab"), encoding="utf-8")
    (folder / "panels.html").write_text(page_of_panels(), encoding="utf-8")
    return folder


def page_of_the_book(name: str, chapter: str, kind: str) -> str:
    """The HTML of a page itself, with the stored lab where its directive stands, and the site's style and script of labs."""
    book = browser.ROOT / "book"
    text = (book / f"{name}.md").read_text(encoding="utf-8")
    assert f"```{{stored-lab}} {chapter} {kind}\n" in text
    first, second = re.findall(r"```\{raw\} html\n(.*?)```", text, re.DOTALL)
    style, script = ((book / "_static" / name).read_text(encoding="utf-8") for name in ("course.css", "lab.js"))
    stored = noise_lab.stored_lab(book / f"{chapter}.ipynb", kind)
    head = f"{HEAD}<title>{name}</title><style>{style}</style><script>{script}</script>"
    return f'{head}<main class="bd-content"><h1>{name}</h1>{first}<div class="stored-lab">{stored}</div>{second}</main>'


def page_of_panels() -> str:
    """A page with a panel of each kind, as a chapter has one."""
    panels = "".join(f"<h2>{kind}</h2>{noise_lab.panel(['noise-panel', kind])}<p>On the website.</p></div>" for kind in noise_lab.PANELS)
    style = (browser.ROOT / "book" / "_static" / "course.css").read_text(encoding="utf-8")
    head = f"{HEAD}<title>Panels</title><style>{style}</style>"
    return f'{head}<main class="bd-content"><h1>Panels</h1>{panels}{noise_lab.page_scripts()}</main>'


@pytest.fixture(scope="module", params=["http", "file"])
def address(request, site):
    with browser.reached(site, request.param) as where:
        yield where


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
    assert np.abs(found - noisy.numpy()).max() > 0.05, "nothing was denoised"
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


def test_jobs_of_two_owners_do_not_disturb_each_other(site, chrome, tmp_path):
    """One waits for the other, and either may be stopped; a job that waits gives way to another one of its owner."""
    with visited(chrome, f"{site.as_uri()}/engine.html", tmp_path) as page:
        ends = page.evaluate(
            """async () => {
                await noiseLabEngine.network("gray");
                const size = {width: 32, height: 32, side: 16};
                const job = (owner) => ({name: "gray", noisy: new Float32Array(1024), map: new Float32Array(1024), owner, ...size});
                const all = [job("a"), job("b"), job("b"), job("c")].map((one) => noiseLabEngine.denoise(one));
                noiseLabEngine.stop("c");
                return (await Promise.all(all)).map(({stopped, superseded, tiles}) => [stopped, Boolean(superseded), tiles]);
            }"""
        )
    assert ends == [[False, False, 4], [True, True, 0], [False, False, 4], [True, False, 0]]


@pytest.mark.parametrize(
    ("job", "message"),
    [({"side": 3}, "tiles of 3 pixels a side: an even number is needed"),
     ({"name": "colour"}, "1 planes for a network of 3"),
     ({"name": "none"}, "the network none is not loaded")],
)  # fmt: skip
def test_jobs_that_cannot_be_done_are_refused(job, message, site, chrome, tmp_path):
    with visited(chrome, f"{site.as_uri()}/engine.html", tmp_path) as page:
        said = page.evaluate(
            """async (wrong) => {
                await Promise.all(["gray", "colour"].map((name) => noiseLabEngine.network(name)));
                const job = {name: "gray", noisy: new Float32Array(64), map: new Float32Array(64), width: 8, height: 8, ...wrong};
                return noiseLabEngine.denoise(job).then(() => "", (error) => error.message);
            }""",
            job,
        )
    assert said == message


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


# --- the page -------------------------------------------------------------------------------------------------------------

BEGIN, STATUS, SHOWN, CANVAS = ".noise-lab-begin", ".noise-lab-status", ".noise-lab-shown", ".noise-lab-view canvas"
STATE = """([place, which]) => {
    const coded = (values) => {
        const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
        let text = "";
        for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
        return btoa(text);
    };
    const {clean, noisy, map, denoised, ...rest} = noiseLabState(document.querySelectorAll(".noise-lab-here")[place], which);
    return {...rest, clean: coded(clean), noisy: coded(noisy), map: coded(map), denoised: coded(denoised)};
}"""


@contextmanager
def alive(chrome, address, folder, **options):
    """The page, whose network runs, with its first result."""
    with visited(chrome, f"{address}/page.html", folder, **options) as page:
        page.locator(BEGIN).click()
        settled(page)
        yield page


def settled(page, place: int = 0, which: str = "first") -> dict:
    """Wait for the result of what the controls say now; its planes ``(C, H, W)``, and what else the page knows.

    Of the lab of a number on the page, and of its first network or its second.
    """
    ready = '([place, which]) => noiseLabState(document.querySelectorAll(".noise-lab-here")[place], which).result'
    page.wait_for_function(ready, arg=[place, which])
    found = page.evaluate(STATE, [place, which])
    shape = (found["height"], found["width"])
    for name, channels in (("clean", found["channels"]), ("noisy", found["channels"]), ("map", 1), ("denoised", found["channels"])):
        found[name] = np.frombuffer(base64.b64decode(found[name]), np.float32).reshape(channels, *shape)
    return found


def tensor(planes: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(planes.copy())[None]


def said(page, text: str) -> str:
    """Wait until the page announces something with this in it; all that it then says."""
    page.wait_for_function("([place, text]) => document.querySelector(place).textContent.includes(text)", arg=[STATUS, text])
    return page.locator(STATUS).inner_text()


def agrees(page, networks) -> dict:
    """What is shown is what PyTorch makes of the same noise and map, and the figures are those of it."""
    found = settled(page)
    name = "gray" if found["channels"] == 1 else "colour"
    expected = networks[name].denoise(tensor(found["noisy"]), tensor(found["map"]))
    assert np.abs(found["denoised"] - expected[0].numpy()).max() < 1e-3
    clean = tensor(found["clean"])
    figures = [metrics.psnr(tensor(found[part]), clean, protocol="quantised").item() for part in ("noisy", "denoised")]
    assert found["result"]["psnr"] == pytest.approx(figures[1], abs=2e-3)
    told = page.locator("#noise-lab .lab-titles span").all_inner_texts()
    for text, name, figure in zip(told, ("noisy", "denoised"), figures, strict=True):
        if np.isinf(figure):
            assert text == f"{name}, exact"
        else:
            assert float(re.fullmatch(rf"{name}, ([\d.]+) dB", text)[1]) == pytest.approx(figure, abs=0.02)
        assert text in page.locator(CANVAS).get_attribute("aria-label")
    return found


def by_pytorch(networks, name: str, found: dict) -> np.ndarray:
    """What a network makes of the noisy photo and the map; of one channel, colour by colour."""
    noisy, told = tensor(found["noisy"]), tensor(found["map"])
    if name == "gray":
        return networks[name].denoise(noisy.transpose(0, 1), told.expand(noisy.shape[1], -1, -1, -1)).numpy()[:, 0]
    return networks[name].denoise(noisy, told)[0].numpy()


def dial(page, name: str):
    return page.get_by_label(name, exact=True)


def pick(page, name: str):
    return page.locator("#noise-lab").get_by_role("combobox", name=name, exact=True)


def test_the_stored_pictures_serve_until_the_reader_asks(address, chrome, tmp_path):
    with visited(chrome, f"{address}/page.html", tmp_path) as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
        assert page.locator(".stored-lab .noise-lab").is_visible()
        assert page.locator(SHOWN).inner_text() == "Shown: stored pictures of chapter 9."
        assert re.fullmatch(r"Run the network here \(1\.[5-9] MB\)", page.locator(BEGIN).inner_text())
        assert page.locator("#noise-lab").locator("input, select, canvas").first.is_hidden() and asked == []
        page.locator(BEGIN).focus()
        page.keyboard.press("Enter")
        settled(page)
        assert page.locator(SHOWN).inner_text() == "Shown: what FFDNet computes in this browser, by WebAssembly."
        assert page.locator(".stored-lab").is_hidden() and page.locator(BEGIN).count() == 0
        assert dial(page, "Noise σ").evaluate("e => e === document.activeElement"), "the focus is not lost with the button"
        expected = {f"{name}.js" for name in ("tf-core", "tf-wasm", "worker", "wasm", "weights-gray", "photo-camera")}
        assert {name for name in asked if name.endswith(".js")} == expected


def test_what_is_shown_is_what_pytorch_computes(address, chrome, networks, tmp_path):
    """At any σ, told the truth or not, of each photo, in gray and in colour; the announcement has the same figures."""
    with alive(chrome, address, tmp_path) as page:
        first = agrees(page, networks)
        assert (first["photo"], first["width"], first["height"], first["channels"]) == ("camera", 128, 128, 1)
        assert np.std(first["noisy"] - first["clean"]) * 255 == pytest.approx(25, rel=0.03) and np.ptp(first["map"]) == 0
        assert f": {first['result']['psnr']:.2f} dB; the noisy photo has 20.6" in said(page, "Denoised in ")
        dial(page, "Noise σ").focus()
        page.keyboard.press("End")
        assert agrees(page, networks)["map"].max() * 255 == pytest.approx(75)
        dial(page, "Noise σ, any value from 0 to 75").fill("12.34")
        exact = agrees(page, networks)
        assert exact["map"].min() * 255 == pytest.approx(12.34) and exact["noisy"].std() != first["noisy"].std()
        page.get_by_label("the network is told the truth").uncheck()
        dial(page, "Told σ, any value from 0 to 75").fill("40")
        lied = agrees(page, networks)
        assert lied["map"].max() * 255 == pytest.approx(40) and (lied["noisy"] == exact["noisy"]).all()
        assert lied["result"]["psnr"] < exact["result"]["psnr"] - 1
        page.get_by_label("the network is told the truth").check()
        page.get_by_role("button", name="New noise").click()
        assert (agrees(page, networks)["noisy"] != exact["noisy"]).mean() > 0.9
        pick(page, "Network").select_option("colour")
        pick(page, "Photo").select_option("astronaut")
        page.wait_for_function("() => noiseLabState().channels === 3 && noiseLabState().photo === 'astronaut'")
        colour = agrees(page, networks)
        assert np.abs(colour["clean"][0] - colour["clean"][2]).max() > 0.1


def test_two_networks_side_by_side(address, chrome, networks, tmp_path):
    """Gray and colour, or one told another σ; each has the numbers and the PSNR of its own, and only what changes is computed anew."""
    titles = "#noise-lab .lab-titles span"
    with alive(chrome, address, tmp_path) as page:
        pick(page, "Photo").select_option("astronaut")
        page.wait_for_function("() => noiseLabState().photo === 'astronaut'")
        page.get_by_label("a second network beside it").check()
        pick(page, "Second network").select_option("colour")
        page.wait_for_function("() => noiseLabState().channels === 3")
        both = {name: settled(page, 0, which) for name, which in (("gray", "first"), ("colour", "second"))}
        clean = tensor(both["gray"]["clean"])
        for text, (name, found) in zip(page.locator(titles).all_inner_texts(), both.items(), strict=True):
            assert np.abs(found["denoised"] - by_pytorch(networks, name, found)).max() < 1e-3
            figure = metrics.psnr(tensor(found["denoised"]), clean, protocol="quantised").item()
            assert found["result"]["psnr"] == pytest.approx(figure, abs=2e-3)
            assert text == f"{'second: ' * (name == 'colour')}denoised, {found['result']['psnr']:.2f} dB"
        assert both["colour"]["result"]["psnr"] > both["gray"]["result"]["psnr"] + 0.3, "colours tell of each other"
        first, second = (both[name]["result"]["psnr"] for name in both)
        assert f"{first:.2f} dB, second {second:.2f} dB; the noisy photo has" in said(page, "Denoised in")
        pick(page, "Second network").select_option("gray")
        page.wait_for_function("() => noiseLabState().channels === 1")
        same = [settled(page, 0, which) for which in ("first", "second")]
        assert (same[0]["denoised"] == same[1]["denoised"]).all()
        page.get_by_label("the second network is told the truth").uncheck()
        dial(page, "Second told σ, any value from 0 to 75").fill("60")
        lied = settled(page, 0, "second")
        assert np.abs(lied["denoised"] - by_pytorch(networks, "gray", lied)).max() < 1e-3 and np.allclose(lied["map"] * 255, 60)
        assert lied["result"]["psnr"] < same[0]["result"]["psnr"] - 0.5
        assert settled(page)["result"] == same[0]["result"], "the first is not computed again"
        pick(page, "Right").select_option("removed2")
        dial(page, "Wipe").focus()
        page.keyboard.press("Home")
        removed = np.clip(128 + 2 * 255 * (lied["noisy"] - lied["denoised"])[0], 0, 255)
        assert np.abs(browser.levels(page.locator(CANVAS))[..., 0] - removed).max() <= 1
        page.get_by_label("a second network beside it").uncheck()
        assert pick(page, "Right").locator("option[value$='2']").count() == 0
        agrees(page, networks)


# --- panels ---------------------------------------------------------------------------------------------------------------


def test_panels(address, chrome, networks, tmp_path):
    """Several on a page: nothing is loaded before a click, each is on its own, and its numbers are those of PyTorch."""
    with visited(chrome, f"{address}/panels.html", tmp_path) as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
        panels = page.locator(".noise-panel")
        assert all(re.fullmatch(r"On the website. Run FFDNet here \(1\.\d MB\)", text.strip()) for text in panels.all_inner_texts())
        assert asked == [] and browser.complaints(page, "main") == []
        for place, kind in enumerate(noise_lab.PANELS):
            panels.nth(place).get_by_role("button", name="Run FFDNet here").click()
            found, options = settled(page, place), noise_lab.PANELS[kind]
            assert np.abs(found["denoised"] - by_pytorch(networks, "gray", found)).max() < 1e-3
            assert np.allclose(found["map"] * 255, options["told"]) and found["width"] == 128
            for control in ("Left", "Right"):
                chosen = panels.nth(place).get_by_role("combobox", name=control, exact=True).input_value()
                assert chosen == options[control.lower()]
            assert panels.nth(place).locator(SHOWN).inner_text() == "Shown: what FFDNet computes in this browser, by WebAssembly."
        assert len([name for name in asked if name.startswith("weights")]) == 1, "what is there is not loaded again"
        told = [settled(page, place) for place in range(len(noise_lab.PANELS))]
        squares = panels.nth(list(noise_lab.PANELS).index("squares"))
        squares.get_by_label("Told σ, any value from 0 to 75").fill("5")
        now = [settled(page, place) for place in range(len(noise_lab.PANELS))]
        changed = [(a["map"] != b["map"]).any() for a, b in zip(told, now, strict=True)]
        assert changed == [kind == "squares" for kind in noise_lab.PANELS]
        at = now[changed.index(True)]
        differences = [((at["denoised"] - at[other]) ** 2).mean() / (25 / 255) ** 2 for other in ("noisy", "clean")]
        assert differences[0] < differences[1], "told less, it stays near the noisy photo and far from the clean one"
        text = squares.locator(".noise-lab-squares").inner_text()
        assert [float(number) for number in re.findall(r"([\d.]+) σ²", text)] == pytest.approx(differences, abs=6e-3)
        painted = panels.nth(list(noise_lab.PANELS).index("told"))
        painted.get_by_label("paint only what the network is told").check()
        painted.get_by_role("button", name="Paint a ramp").click()
        ramp = settled(page, list(noise_lab.PANELS).index("told"))
        assert np.allclose(ramp["map"][0] * 255, np.linspace(0, 75, 128), atol=1e-4)
        assert browser.complaints(page, "main") == []
        page.set_viewport_size({"width": 360, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_number_that_is_none_is_refused_and_changes_nothing(site, chrome, tmp_path):
    with alive(chrome, site.as_uri(), tmp_path) as page:
        before, field = settled(page), dial(page, "Noise σ, any value from 0 to 75")
        for wrong in ("", "-1", "75.5", "1e9"):
            field.fill(wrong)
            assert said(page, "give a number") == "Noise σ: give a number from 0 to 75." and field.get_attribute("aria-invalid") == "true"
            assert (settled(page)["noisy"] == before["noisy"]).all()
        field.fill("30")
        assert field.get_attribute("aria-invalid") is None and (settled(page)["noisy"] != before["noisy"]).any()


def test_the_wipe_shows_two_layers(site, chrome, tmp_path):
    """By slider, by keyboard and by mouse; every layer has the pixels that it should have."""
    with alive(chrome, site.as_uri(), tmp_path, viewport={"width": 1000, "height": 1400}) as page:
        now = settled(page)
        difference = now["denoised"] - now["clean"]
        layers = {
            "noisy": 255 * now["noisy"], "denoised": 255 * now["denoised"], "clean": 255 * now["clean"],
            "error": 128 + 4 * 255 * difference, "map": 255 * 255 * now["map"] / 75,
        }  # fmt: skip
        layers = {name: np.clip(np.round(planes[0]), 0, 255) for name, planes in layers.items()}
        for name, expected in layers.items():
            pick(page, "Left").select_option(name)
            dial(page, "Wipe").focus()
            page.keyboard.press("End")
            assert np.abs(browser.levels(page.locator(CANVAS))[..., 0] - expected).max() <= 1, name
        pick(page, "Right").select_option("clean")
        box = page.locator(CANVAS).bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 60, steps=4)
        page.mouse.up()
        assert dial(page, "Wipe").input_value() == "25"
        shown = browser.levels(page.locator(CANVAS))[..., 0].astype(float)
        assert np.abs(shown[:, :32] - layers["map"][:, :32]).max() <= 1 and np.abs(shown[:, 32:] - layers["clean"][:, 32:]).max() <= 1


def test_the_right_picture_can_be_saved(site, chrome, tmp_path):
    with alive(chrome, site.as_uri(), tmp_path) as page:
        now = settled(page)
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Save the right picture").click()
        assert waiting.value.suggested_filename == "camera denoised.png"
        saved = browser.levels_of(waiting.value.path().read_bytes())[..., 0]
        assert np.abs(saved - np.clip(255 * now["denoised"][0], 0, 255)).max() <= 0.51


def test_painting(site, chrome, networks, tmp_path):
    """By mouse and by keyboard: the noise with its map, or the map alone; a ramp, and all of it cleared."""
    with alive(chrome, site.as_uri(), tmp_path, viewport={"width": 1000, "height": 1400}) as page:
        plain = settled(page)
        page.get_by_label("paint noise, and tell the network").check()
        box = page.locator(CANVAS).bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.5)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5, steps=5)
        page.mouse.up()
        both = agrees(page, networks)
        painted = np.isclose(both["map"][0] * 255, 60)
        assert painted[64, 30] and painted[64, 48] and not painted[64, 90] and not painted[10, 38]
        assert np.allclose(both["map"][0, ~painted] * 255, 25)
        strong, weak = ((now["noisy"] - now["clean"])[0, painted] for now in (both, plain))
        assert np.allclose(strong, weak * 60 / 25, atol=1e-5)
        page.get_by_label("paint only what the network is told").check()
        dial(page, "Brush σ, any value from 0 to 75").fill("5")
        page.locator(CANVAS).focus()
        for key in ["ArrowRight"] * 8 + ["ArrowUp"] * 2 + ["Space"]:
            page.keyboard.press(key)
        pick(page, "Left").select_option("noisy")
        told = agrees(page, networks)
        at = np.isclose(told["map"][0] * 255, 5)
        assert at[52, 102] and not at[100, 20] and (told["noisy"] == both["noisy"]).all()
        assert "painted" in page.locator(CANVAS).get_attribute("aria-label")
        page.get_by_role("button", name="Clear the painting").click()
        assert (agrees(page, networks)["noisy"] == plain["noisy"]).all()
        page.get_by_label("paint noise, and tell the network").check()
        page.get_by_role("button", name="Paint a ramp").click()
        ramp = agrees(page, networks)["map"][0]
        assert np.allclose(ramp * 255, np.linspace(0, 75, 128), atol=1e-4)
        pick(page, "Longer side").select_option("256")
        page.wait_for_function("() => noiseLabState().width === 256")
        assert np.ptp(settled(page)["map"]) == 0, "what was painted was painted on another picture"


# --- photos of the reader's own -------------------------------------------------------------------------------------------


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def scene(width: int = 90, height: int = 60) -> Image.Image:
    """A picture in colour whose upper left corner is dark, so that a turned one is known."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([60 + 150 * x / width, 60 + 150 * y / height, 120 + 0 * x], axis=-1)
    pixels[: height // 3, : width // 3] = 10
    return Image.fromarray(pixels.astype(np.uint8))


def turned() -> bytes:
    """As a camera on its side stores it: to be turned by 90° to the right."""
    meta = Image.Exif()
    meta[0x0112] = 6
    return encoded(scene().transpose(Image.Transpose.ROTATE_90), "JPEG", exif=meta, quality=95)


def half_transparent() -> bytes:
    image = scene().convert("RGBA")
    image.putalpha(Image.fromarray(np.repeat(np.r_[np.full(45, 255), np.zeros(45)].astype(np.uint8)[None], 60, axis=0)))
    return encoded(image, "PNG")


def sixteen_bits() -> bytes:
    levels = (np.linspace(0, 65535, 90)[None] * np.ones((60, 1))).astype(np.uint16)
    return encoded(Image.fromarray(levels), "PNG")


def moving(kind: str) -> bytes:
    frames = [scene(), Image.new("RGB", (90, 60), "white")]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, loop=0)


TAKEN = {
    "plain.png": (lambda: encoded(scene(), "PNG"), (90, 60), ""),
    "gray.jpg": (lambda: encoded(scene().convert("L"), "JPEG"), (90, 60), ""),
    "turned.jpg": (turned, (90, 60), ""),
    "alpha.png": (half_transparent, (90, 60), "; what is transparent lies on white"),
    "deep.png": (sixteen_bits, (90, 60), "; of its 16 bits a channel the page uses 8"),
    "inks.jpg": (lambda: encoded(scene().convert("CMYK"), "JPEG"), (90, 60), "; its inks (CMYK) were turned into red, green and blue"),
    "moving.gif": (lambda: moving("GIF"), (90, 60), "; of its pictures the page uses the first"),
    "moving.webp": (lambda: moving("WEBP"), (90, 60), "; of its pictures the page uses the first"),
    "moving.png": (lambda: moving("PNG"), (90, 60), "; of its pictures the page uses the first"),
    "still.gif": (lambda: encoded(scene(), "GIF"), (90, 60), ""),
    "odd.bmp": (lambda: encoded(scene(91, 61), "BMP"), (91, 61), ""),
    "huge.jpg": (lambda: encoded(scene(6000, 4000), "JPEG"), (6000, 4000), ""),
}
REFUSED = {
    "empty.jpg": (lambda: b"", "empty.jpg is empty: choose another file."),
    "letter.txt": (lambda: b"Dear reader, this is no picture.", "letter.txt is not an image that this browser can read: choose a JPEG"),
    "page.html": (lambda: b"<html>", "page.html is a drawing or a text, not a photo: choose a JPEG"),
    "drawing.svg": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="50" height="50"/>', "drawing.svg is a drawing or a text"),
    "scan.tif": (lambda: encoded(scene(), "TIFF"), "scan.tif is a TIFF or camera raw file, which this browser cannot read: save it as"),
    "broken.png": (lambda: encoded(scene(), "PNG")[:120], "broken.png is a damaged PNG file"),
    "broken.jpg": (lambda: encoded(scene(), "JPEG")[:400], "broken.jpg is a damaged JPEG file"),
    "tiny.png": (lambda: encoded(scene(40, 8), "PNG"), "tiny.png has 40×8 pixels, but at least 16 a side are needed."),
    "vast.png": (lambda: encoded(Image.new("1", (12_000, 9_000)), "PNG"), "vast.png has 12000×9000 pixels, but at most 100 megapixels fit"),
}  # fmt: skip


def test_photos_of_the_readers_own(site, chrome, networks, tmp_path):
    """Of every kind: what the page makes of it, and that it says what it changed. None of it is sent anywhere (``visited`` looks)."""
    with alive(chrome, site.as_uri(), tmp_path) as page:
        for name, (content, size, remark) in TAKEN.items():
            page.get_by_label("or your own").set_input_files({"name": name, "mimeType": "", "buffer": content()})
            said(page, f"{name}, {size[0]}×{size[1]} pixels, stays on this computer{remark}. Denoised in ")
            now = agrees(page, networks)
            shown = (now["width"], now["height"])
            assert shown == (size if max(size) <= 128 else (128, round(128 * size[1] / size[0]))), name
            assert page.locator(".noise-lab-about").inner_text().endswith(f"computer{remark}.")
            clean = 255 * now["clean"][0]
            if name == "deep.png":
                assert np.abs(clean - np.linspace(0, 255, 90)).max() < 2
            elif name == "alpha.png":
                assert (clean[:, 45:] == 255).all() and clean[5, 5] < 20
            else:
                assert clean[3, 3] < 25 < 60 < clean[-3, -3] and clean[3, -3] > 60 and clean[-3, 3] > 60, f"{name} is turned"
        pick(page, "Photo").select_option("cat")
        page.wait_for_function("() => noiseLabState().photo === 'cat'")
        assert page.locator(".noise-lab-about").inner_text() == ""
        pick(page, "Photo").select_option("your own: huge.jpg")
        page.wait_for_function("() => noiseLabState().photo === 'huge.jpg'")


def test_what_is_no_photo_is_refused_in_words(site, chrome, tmp_path):
    """And what was there before stays."""
    with alive(chrome, site.as_uri(), tmp_path) as page:
        before = settled(page)
        for name, (content, message) in REFUSED.items():
            page.get_by_label("or your own").set_input_files({"name": name, "mimeType": "", "buffer": content()})
            said(page, message)
        now = settled(page)
        assert now["photo"] == "camera" and (now["noisy"] == before["noisy"]).all()


def test_a_large_photo_comes_in_tiles_and_may_be_stopped(site, chrome, networks, tmp_path):
    with alive(chrome, site.as_uri(), tmp_path) as page:
        page.get_by_label("or your own").set_input_files({"name": "large.png", "mimeType": "", "buffer": encoded(scene(600, 400), "PNG")})
        page.wait_for_function("() => noiseLabState().photo === 'large.png' && noiseLabState().result")
        pick(page, "Longer side").select_option("512")
        progress, stop = page.get_by_role("progressbar", name="tiles denoised"), page.get_by_role("button", name="Stop")
        page.wait_for_function("() => document.querySelector('#noise-lab progress').value === 1")
        assert progress.is_visible() and progress.evaluate("e => e.max") == 4
        stop.click()
        assert re.match(r"Stopped after [123] of 4 tiles; the rest is as noisy as before", said(page, "Stopped"))
        assert page.locator("#noise-lab .lab-titles span").nth(1).inner_text() == "denoised in part"
        same = page.evaluate("(({denoised, noisy}) => [0, -1].map((i) => denoised.at(i) === noisy.at(i)))(noiseLabState())")
        assert same == [False, True]
        page.get_by_role("button", name="Denoise").click()
        assert settled(page)["width"] == 512
        agrees(page, networks)
        assert progress.is_hidden()


def test_a_slider_that_moves_ends_with_the_result_of_where_it_stopped(site, chrome, networks, tmp_path):
    with alive(chrome, site.as_uri(), tmp_path) as page:
        dial(page, "Noise σ").focus()
        for _ in range(12):
            page.keyboard.press("ArrowRight")
        found = agrees(page, networks)
        assert found["map"].max() * 255 == pytest.approx(37)
        announcements = page.evaluate(
            """async () => {
                const seen = [], status = document.querySelector(".noise-lab-status");
                const all = {childList: true, characterData: true, subtree: true};
                new MutationObserver(() => seen.push(status.textContent)).observe(status, all);
                const slider = document.querySelector(".noise-lab-dial input");
                for (let value = 40; value < 50; value++) {
                    slider.value = value;
                    slider.dispatchEvent(new Event("input"));
                    await new Promise((go) => setTimeout(go, 60));
                }
                while (!noiseLabState().result) await new Promise((go) => setTimeout(go, 50));
                await new Promise((go) => setTimeout(go, 1500));
                return seen;
            }"""
        )
        assert len(announcements) == 1, "a move is announced once, at its end"


# --- where it cannot run --------------------------------------------------------------------------------------------------

HINDERED = {
    "delete globalThis.WebAssembly": "this browser has no WebAssembly, or it is switched off",
    "delete globalThis.Worker": "this browser has no workers",
    "delete globalThis.DecompressionStream": "this browser is too old: it cannot unpack the network (DecompressionStream)",
}


@pytest.mark.parametrize("change", HINDERED)
def test_without_what_it_needs_the_stored_pictures_serve(change, address, chrome):
    context = chrome.new_context()
    try:
        context.add_init_script(change)
        page = context.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(error.message))
        page.goto(f"{address}/page.html")
        assert page.locator(SHOWN).inner_text() == f"Shown: stored pictures of chapter 9. The network cannot run here: {HINDERED[change]}."
        page.locator(".stored-lab canvas").wait_for()  # its pictures are unpacked first
        assert page.locator(BEGIN).count() == 0 and errors == []
    finally:
        context.close()


def test_a_site_built_without_network_says_so(site, chrome, tmp_path):
    for file in site.glob("*.html"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "lab").mkdir()
    for file in (site / "lab").iterdir():
        if not file.name.startswith(("tf-", "wasm")):
            (tmp_path / "lab" / file.name).write_bytes(file.read_bytes().replace(b'"missing": false', b'"missing": true'))
    with visited(chrome, f"{tmp_path.as_uri()}/page.html", tmp_path) as page:
        assert "this copy of the site was built without network, so that it lacks TensorFlow.js." in page.locator(SHOWN).inner_text()
        page.locator(".stored-lab canvas").wait_for()
        assert page.locator(BEGIN).count() == 0


def test_a_connection_that_fails_leaves_the_stored_pictures_and_another_try(site, chrome):
    with browser.served(site) as address:
        page = chrome.new_page()
        try:
            page.goto(f"{address}/page.html")
            page.route("**/lab/wasm.js", lambda route: route.abort(), times=1)
            page.locator(BEGIN).click()
            page.wait_for_function("place => document.querySelector(place).textContent === 'Try again'", arg=BEGIN)
            assert "The network cannot run here: the file lab/wasm.js could not be loaded." in page.locator(SHOWN).inner_text()
            page.locator(".stored-lab canvas").wait_for()
            page.locator(BEGIN).click()
            settled(page)
        finally:
            page.close()


def test_without_javascript_the_page_says_what_it_shows(site, chrome, tmp_path):
    with visited(chrome, f"{site.as_uri()}/page.html", tmp_path, java_script_enabled=False) as page:
        assert page.locator(SHOWN).inner_text() == "Shown: stored pictures of chapter 9. The network needs JavaScript."
        page.locator(".stored-lab img").wait_for()
        assert page.locator("#noise-lab").locator("input, select, button, canvas").count() == 0


def test_a_page_that_is_not_accessible_would_be_noticed(site, chrome, tmp_path):
    with visited(chrome, f"{site.as_uri()}/engine.html", tmp_path) as page:
        page.evaluate("document.body.innerHTML = '<button></button>'")
        assert any(text.startswith("button-name (critical)") for text in browser.complaints(page, "body"))
