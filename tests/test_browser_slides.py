"""A deck in a real browser, opened as a file: keys turn it, its sliders move, formulas are drawn, it fits, and it prints."""

from __future__ import annotations

import re

import browser
import pytest

import slides

CHAPTER = "12_noise2noise"  # formulas, diagrams, tables, sources, curves, and a slider with a choice


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    slides.write(folder, [CHAPTER])
    return (folder / f"{CHAPTER}.html").as_uri()


@pytest.fixture(scope="module")
def deck(chrome, address):
    """The deck, once it is laid out; nothing else is asked for, and nothing complains."""
    context = chrome.new_context(viewport={"width": 960, "height": 600})
    page = context.new_page()
    page.set_default_timeout(60_000)
    requests, errors = [], []
    context.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(error.message))
    page.goto(address)
    page.wait_for_selector("body.ready")
    yield page
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [address]
    assert errors == []
    context.close()


def at(deck) -> tuple[int, int]:
    """The number of the slide that is shown, and of all; the counter and the address agree."""
    number, count = map(int, deck.locator("#number").inner_text().split(" / "))
    assert deck.evaluate("location.hash") == f"#{number}"
    assert deck.locator(".slide.shown").get_attribute("data-number") == str(number)
    assert deck.evaluate("[...document.querySelectorAll('.slide')].filter(s => getComputedStyle(s).visibility === 'visible').length") == 1
    return number, count


def test_keys_turn_the_slides(deck):
    deck.keyboard.press("Home")
    first, count = at(deck)
    assert first == 1 and count == deck.locator(".slide").count() > 10
    for key, expected in (
        ("ArrowRight", 2), ("PageDown", 3), ("Space", 4), ("ArrowLeft", 3), ("PageUp", 2), ("End", count), ("ArrowRight", count),
        ("Home", 1), ("ArrowLeft", 1),
    ):  # fmt: skip
        deck.keyboard.press(key)
        assert at(deck)[0] == expected, key
    deck.locator("#on").click()
    assert at(deck)[0] == 2
    deck.locator("#back").click()
    assert at(deck)[0] == 1


def test_a_slider_changes_the_picture_and_keeps_its_arrows(deck):
    place = deck.locator(".slide:has(.lab)").first.get_attribute("data-number")
    deck.evaluate(f"location.hash = '#{place}'")
    deck.wait_for_function(f"() => document.querySelector('.slide.shown').dataset.number === '{place}'")
    lab = deck.locator(".slide.shown .lab-alive")
    control, canvas = lab.locator("input[type=range]"), lab.locator("canvas")
    before, titles = browser.pixels(canvas), lab.locator(".lab-live .lab-titles").inner_text()
    control.focus()
    deck.keyboard.press("ArrowRight")
    after = browser.pixels(canvas)
    assert at(deck)[0] == int(place), "the arrow moved the slider and turned the page"
    assert after["digest"] != before["digest"] and after["roughness"] > before["roughness"]
    assert lab.locator(".lab-live .lab-titles").inner_text() != titles
    lab.locator("select").select_option("text")
    assert browser.pixels(canvas)["digest"] != after["digest"]
    assert canvas.bounding_box()["width"] > 0.85 * 960, "large"
    control.focus()
    deck.keyboard.press("PageDown")  # a presenter's remote control
    assert at(deck)[0] == int(place) + 1
    deck.keyboard.press("ArrowLeft")
    assert at(deck)[0] == int(place)


def test_formulas_are_drawn_and_everything_fits(deck):
    assert deck.locator(".katex-html").count() > 20 and deck.locator(".katex-error").count() == 0
    assert not re.search(r"\\[(\[]", deck.evaluate("document.getElementById('stage').innerText"))
    assert deck.locator(".overflows").count() == 0
    outside = """() => [...document.querySelectorAll('.slide .body')].filter(body => {
        const frame = body.getBoundingClientRect();
        return [...body.querySelectorAll('img.figure, table, .lab-live, .katex-html, p, li')].some(part => {
            const box = part.getBoundingClientRect();
            return box.width && (box.bottom > frame.bottom + 2 || box.right > frame.right + 2);
        });
    }).map(body => body.parentElement.dataset.number)"""
    assert deck.evaluate(outside) == []


def test_notes_are_shown_on_demand(deck):
    place = deck.locator(".slide:has(.notes)").first.get_attribute("data-number")
    deck.evaluate(f"location.hash = '#{place}'")
    notes = deck.locator(f".slide[data-number='{place}'] .notes")
    assert not notes.is_visible()
    deck.keyboard.press("n")
    assert notes.is_visible()
    deck.keyboard.press("n")
    assert not notes.is_visible()


def test_axe_finds_nothing(deck):
    assert browser.complaints(deck, "#stage") == []


def test_printing_gives_a_page_a_slide(deck):
    printed = deck.pdf(prefer_css_page_size=True, print_background=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == deck.locator(".slide").count()
