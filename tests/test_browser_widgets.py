"""Labs on a page of their own, in a real browser: its pictures are Python's, to the last bit, and its figures are those of its pictures.

What a codec, a canvas, the dark theme or the browser's memory of a form could change is measured on what the browser shows.
"""

import math
import re
from contextlib import contextmanager

import browser
import numpy as np
import pytest
import torch
from test_widgets import photo

from course_lib import noise, plots, widgets

SIGMAS = (0, 5, 10, 25, 75)
STATIC = browser.ROOT / "book" / "_static"


def smooth(noisy, sigma):
    """A denoiser: the mean of 3 × 3 pixels."""
    return torch.nn.functional.avg_pool2d(noisy, 3, 1, 1)


def labs() -> dict:
    """One lab of each kind; photos in gray and in colour."""
    gray, colour = {"cat": photo(1, 96, 96, seed=1), "moon": photo(1, 96, 96, seed=2)}, {"coffee": photo(3, 60, 64, seed=3)}
    figure, axis = plots.figure(3, 2)
    axis.plot([0, 1], [1, 0])
    other, axis = plots.figure(3, 2)
    axis.plot([0, 1], [0, 1])
    return {
        "noise-lab": widgets.noise_lab({"mean": smooth}, gray, sigmas_255=SIGMAS, page_sigmas_255=SIGMAS, page_size=96),
        "degradation-lab": widgets.degradation_lab(
            {"mean": lambda images: smooth(images, 0)},
            colour,
            {"noise": {f"σ = {s:g}": widgets.GaussianNoise(s) for s in (7.5, 50)},
             "JPEG": {f"quality {q}": lambda clean, q=q: noise.jpeg(clean, q) for q in (40, 10)}},
            page_size=64,
        ),
        "figure-lab": widgets.figure_lab(
            {"": {"down": lambda: widgets.Drawing(figure, "down", "A line that falls from left to right."),
                  "up": lambda: widgets.Drawing(other, "up", "A line that rises from left to right.")}},
            slider="direction",
        ),
    }  # fmt: skip


@pytest.fixture(scope="module")
def made():
    return labs()


@pytest.fixture(scope="module", params=["http", "file"])
def address(request, made, tmp_path_factory):
    """A page with these labs, and one without, on a server and in a folder."""
    folder = tmp_path_factory.mktemp("page")
    head = "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>labs</title>"
    style, script = ((STATIC / name).read_text(encoding="utf-8") for name in ("course.css", "lab.js"))
    body = "".join(f'<div class="cell_output"><div class="text_html">{lab.page()}</div></div>' for lab in made.values())
    labs = f'{head}<style>{style}</style><script>{script}</script><body><article class="bd-content">{body}</article>'
    (folder / "labs.html").write_text(labs, encoding="utf-8")
    (folder / "other.html").write_text(f"{head}<a href=labs.html>labs</a>", encoding="utf-8")
    with browser.reached(folder, request.param) as where:
        yield where


@contextmanager
def visited(chrome, address, tmp_path, **options):
    context = chrome.new_context(**options)
    page, errors = context.new_page(), []
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: errors.append(error.message))
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    try:
        with browser.screenshot_of_failure(page, tmp_path):
            page.goto(f"{address}/labs.html")
            alive(page)
            yield page
            assert [error for error in errors if "favicon" not in error and "404" not in error] == []
    finally:
        context.close()


def alive(page) -> None:
    """Wait until every lab has its controls."""
    page.wait_for_function("() => [...document.querySelectorAll('.lab')].every(e => e.classList.contains('lab-alive'))")


def parts(canvas) -> list[np.ndarray]:
    """The three parts of what a canvas or an image shows, as float (H, W, 3)."""
    shown = browser.levels(canvas).astype(float)
    width = (shown.shape[1] - 8) // 3
    return [shown[:, i * (width + 4) :][:, :width] for i in range(3)]


def psnr(shown, clean) -> float:
    error = np.mean((shown - clean) ** 2)
    return 10 * math.log10(255**2 / error) if error else math.inf


def said(caption: str) -> list[float]:
    """The PSNR of the first two pictures of a caption."""
    return [math.inf if words == "exact" else float(words) for words in re.findall(r", (exact|[\d.]+)", caption)]


def every_frame(page, kind):
    """(choice, position) after each move of the slider of a lab, by keyboard."""
    lab = page.locator(f".{kind}")
    choices = lab.locator("option").all_inner_texts() or [None]
    for choice in choices:
        if choice:
            lab.locator("select").select_option(choice)
        lab.locator("input").focus()
        page.keyboard.press("Home")
        for _ in range(int(lab.locator("input").get_attribute("max")) + 1):
            yield choice, lab.locator("output").inner_text()
            page.keyboard.press("ArrowRight")


@pytest.mark.parametrize("kind", ["noise-lab", "degradation-lab"])
def test_the_page_shows_what_python_shows(kind, made, address, chrome, tmp_path):
    """Pixel for pixel; and what stands above each picture is within 0.1 dB of what one measures on it."""
    lab, seen = made[kind], 0
    first = [choice.options[0] for choice in lab.choices[:-1]]
    with visited(chrome, address, tmp_path) as page:
        canvas = page.locator(f".{kind} canvas")
        for choice, position in every_frame(page, kind):
            place = {f"σ = {s:g}": s for s in SIGMAS}[position] if kind == "noise-lab" else position
            frame = lab.frame(*first, choice, place)
            assert (browser.levels(canvas) == browser.levels_of(frame.picture())).all()
            assert canvas.get_attribute("aria-label") == frame.alt
            degraded, restored, _ = parts(canvas)
            clean = np.atleast_3d(plots.pixels(frame.clean)).astype(float)
            before, after = said(page.locator(f".{kind} .lab-live .lab-titles").inner_text())
            assert psnr(degraded, clean) == pytest.approx(before, abs=0.1) and psnr(restored, clean) == pytest.approx(after, abs=0.1)
            seen += 1
    assert seen == sum(map(len, lab.static.rows.values()))


def test_the_noise_is_the_noise(made, address, chrome, tmp_path):
    """What the browser shows of the noise is what was drawn, at every σ, wherever it is not clipped."""
    with visited(chrome, address, tmp_path) as page:
        for choice, position in every_frame(page, "noise-lab"):
            sigma = float(position.removeprefix("σ = "))
            frame = made["noise-lab"].frame("mean", choice, sigma)
            drawn = noise.test_noise(torch.zeros_like(frame.clean), 1.0)[0, 0].numpy()  # before it was rounded
            shown = parts(page.locator(".noise-lab canvas"))[0][..., 0]
            difference, free = shown - plots.pixels(frame.clean), (shown > 0) & (shown < 255)
            if sigma:
                assert np.corrcoef(difference[free], drawn[free])[0, 1] > 0.95
                assert free.mean() > 0.5 and (sigma > 25 or abs(difference[free].std() / sigma - 1) < 0.05)
            else:
                assert (difference == 0).all()


def test_figures_are_without_loss(made, address, chrome, tmp_path):
    with visited(chrome, address, tmp_path) as page:
        for _, position in every_frame(page, "figure-lab"):
            frame = made["figure-lab"].frame("", position)
            assert (browser.levels(page.locator(".figure-lab canvas")) == frame.pixels).all()


def test_without_scripts_there_is_the_start_and_no_control(made, address, chrome):
    context = chrome.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(f"{address}/labs.html")
        images = page.locator(".lab-start img")
        assert images.count() == 3 and all(image.is_visible() for image in images.all())
        assert page.locator("input, select, output, canvas").count() == 0
        assert not page.locator(".lab-run").first.is_visible(), "there is no cell to run"
    finally:
        context.close()


def test_a_browser_that_alters_what_is_read_keeps_the_start(address, chrome):
    """Some browsers do so against fingerprinting: no slider is better than one whose pictures are false."""
    context = chrome.new_context()
    try:
        page = context.new_page()
        page.add_init_script(
            """const read = CanvasRenderingContext2D.prototype.getImageData;
            CanvasRenderingContext2D.prototype.getImageData = function (...where) {
                const found = read.apply(this, where); found.data[0] ^= 1; return found; };"""
        )
        warned = []
        page.on("console", lambda message: warned.append(message.text))
        page.goto(f"{address}/labs.html")
        page.locator(".figure-lab canvas").wait_for()
        page.wait_for_timeout(500)
        for kind in ("noise-lab", "degradation-lab"):
            assert page.locator(f".{kind} .lab-start img").is_visible() and page.locator(f".{kind}").locator("input, canvas").count() == 0
        assert any("alters the pictures" in text for text in warned)
    finally:
        context.close()


def state(page) -> list[tuple]:
    """Of each lab what its control says and what its picture shows, after a check that they agree."""
    found = []
    for lab in page.locator(".lab").all():
        control, output = lab.locator("input"), lab.locator("output").inner_text()
        assert control.get_attribute("aria-valuetext") == output
        alt = lab.locator("canvas").get_attribute("aria-label")
        choice = lab.locator("select").input_value() if lab.locator("select").count() else ""
        frame = lab.evaluate(
            """(lab, [choice, at]) => JSON.parse(lab.querySelector("script").textContent).rows[choice][at]""",
            [choice, int(control.input_value())],
        )
        titles = "".join(f"<span>{text}</span>" for text in lab.locator(".lab-live .lab-titles span").all_inner_texts())
        assert (frame["position"], frame["alt"], frame["caption"]) == (output, alt, titles)
        found.append((choice, output, browser.levels(lab.locator("canvas")).tobytes()))
    return found


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("way", ["back", "forward", "reload"])
def test_control_and_picture_agree_after(way, cached, address, chrome, tmp_path):
    """Whether the browser keeps the page as it was, or makes it anew and fills in its forms: one page shows one state."""
    with visited(chrome, address, tmp_path) as page:
        if not cached:
            page.evaluate("window.addEventListener('unload', () => {})")  # such a page is not kept
        start = state(page)
        for lab in page.locator(".lab").all():
            lab.locator("input").focus()
            page.keyboard.press("End")
            if lab.locator("select").count():
                lab.locator("select").select_option(index=1)
        moved = state(page)
        assert all(one != other for one, other in zip(start, moved, strict=True))
        if way == "reload":
            page.reload()
        elif way == "back":
            page.goto(f"{address}/other.html")
            page.go_back()
        else:
            page.goto(f"{address}/other.html")
            page.go_back()
            page.go_back(timeout=5_000)
            page.go_forward()
        alive(page)
        page.wait_for_timeout(300)  # a browser fills in forms late
        assert state(page) in (start, moved)


def test_print_shows_the_start(address, chrome, tmp_path):
    with visited(chrome, address, tmp_path) as page:
        page.locator(".noise-lab input").focus()
        page.keyboard.press("End")
        page.emulate_media(media="print")
        for lab in page.locator(".lab").all():
            assert lab.locator(".lab-start img").is_visible() and not lab.locator("canvas, input").first.is_visible()
        assert page.locator(".noise-lab .lab-start .lab-titles").inner_text().startswith("noisy, 20.")
        page.emulate_media(media="screen")
        assert page.locator(".noise-lab canvas").is_visible() and not page.locator(".noise-lab .lab-start img").is_visible()
