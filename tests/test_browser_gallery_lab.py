"""The gallery lab in a real browser: its embeddings are those of PyTorch, its answers those of the library's gallery, by mouse and keys."""

from __future__ import annotations

import re

import browser
import noise_lab
import numpy as np
import pytest
import torch

# the site of the noise lab, and how its pages are visited
from test_browser_noise_lab import BEGIN, SHOWN, STATUS, address, said, site, visited  # noqa: F401

from course_lib import runs
from course_lib.metric_learning import distances, identities
from course_lib.metric_learning.gallery import Gallery

PAD, VERDICT, ROWS = ".gallery-pad", ".gallery-verdict", ".gallery-people tbody tr"
STATE = """() => {
    const plain = ({image, vector}) => ({image: [...image], vector: [...vector]});
    const {query, people, ...rest} = galleryLabState();
    return {...rest, query: query && plain(query), people: people.map((one) => ({...one, templates: one.templates.map(plain)}))};
}"""


@pytest.fixture(scope="module")
def network():
    return runs.shipped(*noise_lab.EMBEDDER)


def opened(page):
    page.locator(BEGIN).click()
    page.wait_for_function("() => galleryLabState().answer")


def drawn(page, *strokes):
    """Draw strokes, points in the unit square, on the pad by mouse."""
    page.locator(PAD).scroll_into_view_if_needed()
    box = page.locator(PAD).bounding_box()
    for stroke in strokes:
        for number, (x, y) in enumerate(stroke):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=6)
            if not number:
                page.mouse.down()
        page.mouse.up()


def settled(page, network) -> dict:
    """What the page knows, after it was compared with PyTorch and with the library's gallery."""
    page.wait_for_function("() => !galleryLabState().busy")
    found = page.evaluate(STATE)
    gallery = Gallery(32, network="the page's")
    for one in found["people"]:
        images = torch.tensor([template["image"] for template in one["templates"]]).view(-1, 1, 28, 28)
        vectors = torch.tensor([template["vector"] for template in one["templates"]])
        assert (network.embed(images) - vectors).abs().max() < 1e-3
        gallery.enrol(one["name"], vectors)
    if found["query"] and found["people"]:
        vector = torch.tensor([found["query"]["vector"]])
        assert (network.embed(torch.tensor(found["query"]["image"]).view(1, 1, 28, 28)) - vector).abs().max() < 1e-3
        assert [one["score"] for one in found["people"]] == pytest.approx(gallery.scores(vector)[0].tolist(), abs=1e-4)
        [expected] = gallery.identify(vector, found["gamma"])
        answer = found["answer"]
        assert (answer["person"], answer["nearest"]) == (expected.person, expected.nearest)
        verdict = page.locator(VERDICT).inner_text()
        begins = f"This is {expected.person}: " if expected.person else f"Nobody I know: the nearest is {expected.nearest}, "
        assert verdict.startswith(begins) and f"{answer['score']:.2f}" in verdict
    return found


def test_characters_are_drawn_enrolled_and_known(address, chrome, network, tmp_path):  # noqa: F811
    """By mouse; a third is enrolled, γ moved, noise put on the pad, somebody removed. Nothing is loaded before the click."""
    triangle = [[(0.5, 0.2), (0.8, 0.8), (0.2, 0.8), (0.5, 0.2)]]
    with visited(chrome, f"{address}/gallery.html", tmp_path, viewport={"width": 1000, "height": 1200}) as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
        assert page.locator(".stored-lab .figure-lab").is_visible() and asked == []
        assert re.fullmatch(r"Open the gallery here \(0\.\d MB\)", page.locator(BEGIN).inner_text())
        opened(page)
        expected = {f"{name}.js" for name in ("tf-core", "tf-wasm", "worker", "wasm", "weights-embedder")}
        assert {name for name in asked if name.endswith(".js")} == expected
        assert page.locator(SHOWN).inner_text() == "Shown: what the network of the gallery computes in this browser, by WebAssembly."
        assert page.locator(".stored-lab").is_hidden()
        first = settled(page, network)
        assert [one["name"] for one in first["people"]] == ["A", "Z"] and first["answer"]["person"] == "A"
        page.get_by_role("button", name="Clear the pad").click()
        assert said(page, "The pad is empty: draw a character, or write an example.")
        drawn(page, *triangle)
        assert settled(page, network)["answer"]["person"] is None, "nobody has enrolled a triangle"
        page.get_by_label("Who is it?").fill("triangle")
        page.keyboard.press("Enter")
        page.wait_for_function("() => galleryLabState().people.length === 3")
        page.get_by_role("button", name="Clear the pad").click()
        drawn(page, [(x + 0.03 * y, 0.9 * y) for x, y in triangle[0]])
        again = settled(page, network)
        assert again["answer"]["person"] == "triangle" and 0 < again["answer"]["score"] < 0.5
        page.get_by_label("Threshold γ, any value from 0 to 2").fill("0.01")
        assert settled(page, network)["answer"]["person"] is None
        page.get_by_label("Threshold γ, any value from 0 to 2").fill("2")
        assert settled(page, network)["answer"]["person"] == "triangle"
        page.get_by_label("Who is it?").fill("triangle")
        page.get_by_role("button", name="Enrol").click()
        page.wait_for_function("() => galleryLabState().people[2].templates.length === 2")
        two = settled(page, network)
        assert two["answer"]["score"] == pytest.approx(again["answer"]["score"] / 2, abs=1e-4), "the mean of both distances"
        page.get_by_label("Noise σ on the pad, any value from 0 to 75").fill("50")
        page.wait_for_function("before => galleryLabState().answer?.score > before", arg=two["answer"]["score"])
        noisy = settled(page, network)
        assert np.std(np.subtract(noisy["query"]["image"], two["query"]["image"])) * 255 == pytest.approx(50, rel=0.1)
        page.get_by_role("button", name="Remove A").click()
        assert [one["name"] for one in settled(page, network)["people"]] == ["Z", "triangle"]


def test_the_keyboard_draws(site, chrome, network, tmp_path):  # noqa: F811
    """Arrow keys move the pen, Space puts it down and lifts it; what the network sees is what was drawn, and fills its box."""
    with visited(chrome, f"{site.as_uri()}/gallery.html", tmp_path) as page:
        opened(page)
        page.get_by_role("button", name="Clear the pad").click()
        page.locator(PAD).focus()
        keys = (("ArrowUp", 6), ("Space", 1), ("ArrowDown", 12), ("Space", 1), ("ArrowLeft", 3), ("Space", 1), ("ArrowRight", 6))
        for key, times in keys:
            for _ in range(times):
                page.keyboard.press(key)
        found = np.array(settled(page, network)["query"]["image"]).reshape(28, 28)
        rows, columns = (np.flatnonzero(found.max(axis) > 0.3) for axis in (1, 0))
        assert 18 <= len(rows) <= 21 and 9 <= len(columns) <= 13, "an upright bar on a foot of half its length"
        weights = found / found.sum()
        assert [(weights.sum(axis) * np.arange(28)).sum() for axis in (1, 0)] == pytest.approx([13.5, 13.5], abs=0.5)
        assert found[rows[-1] - 1, columns[1] : columns[-1]].min() > 0.3 > found[rows[0] + 2, columns[1]]


def test_what_cannot_be_enrolled_is_said(site, chrome, network, tmp_path):  # noqa: F811
    with visited(chrome, f"{site.as_uri()}/gallery.html", tmp_path) as page:
        opened(page)
        page.get_by_role("button", name="Enrol").click()
        assert page.locator(STATUS).inner_text() == "Say who it is: a name is needed."
        page.get_by_role("button", name="Clear the pad").click()
        page.get_by_label("Who is it?").fill("x")
        page.get_by_role("button", name="Enrol").click()
        assert said(page, "draw a character first") and len(settled(page, network)["people"]) == 2
        for name in ("A", "Z"):
            page.get_by_role("button", name=f"Remove {name}").click()
        page.get_by_role("button", name="Write it").click()
        page.wait_for_function("() => galleryLabState().query")
        assert page.locator(VERDICT).inner_text() == "Nobody is enrolled: say who this is, and enrol them."


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_gallery_is_accessible(scheme, site, chrome, tmp_path):  # noqa: F811
    """Also on a telephone; what is not would be noticed (test_browser_noise_lab)."""
    with visited(chrome, f"{site.as_uri()}/gallery.html", tmp_path, viewport={"width": 360, "height": 740}, color_scheme=scheme) as page:
        opened(page)
        assert browser.complaints(page, "main") == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_examples_of_one_letter_are_near_and_of_two_far(site, chrome, network, tmp_path):  # noqa: F811
    """Written by other hands each time: with the γ of the page most are told apart, though no letter was ever trained on."""
    with visited(chrome, f"{site.as_uri()}/gallery.html", tmp_path) as page:
        opened(page)
        images, letters = [], page.get_by_label("Example").locator("option").all_inner_texts()
        for letter in letters * 2:
            page.get_by_label("Example").select_option(letter)
            page.get_by_role("button", name="Write it").click()
            images.append(settled(page, network)["query"]["image"])
        gamma = page.evaluate("galleryLabState().gamma")
    points = network.embed(torch.tensor(images).view(-1, 1, 28, 28))
    distance, who = distances.pairwise(points, points), torch.arange(len(letters)).repeat(2)
    same = (who[:, None] == who) & ~torch.eye(len(who), dtype=torch.bool)
    other = who[:, None] != who
    assert (distance[same] < gamma).float().mean() > 0.7 and (distance[other] < gamma).float().mean() < 0.1


def test_gamma_is_that_of_one_false_accept_in_a_hundred(network):
    """Of the shots of 100 characters that the network was not trained on, as the page says."""
    script = (noise_lab.SOURCES / noise_lab.GALLERY).read_text(encoding="utf-8")
    gamma = float(re.search(r"GAMMA = ([\d.]+);", script)[1])
    _, unseen = identities.characters(0)
    points = network.embed(unseen.images / 255.0).view(100, 10, -1)
    distance = distances.pairwise(points[:, 1:].flatten(0, 1), points[:, 0])
    own = torch.arange(100).repeat_interleave(9)[:, None] == torch.arange(100)
    assert (distance[~own] < gamma).float().mean() == pytest.approx(0.01, abs=0.002)
    assert (distance[own] >= gamma).float().mean() < 0.2
