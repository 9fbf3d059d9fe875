"""That the site reaches every reader: nothing that axe-core calls serious or critical, little to load, near to the keyboard.

The site is ``_build/html``, as ``make book`` leaves it; ``COURSE_SITE`` names another folder.
"""

from __future__ import annotations

import functools
import gzip
import re
from pathlib import Path

import browser
import numpy as np
import pytest

WIDE, NARROW = {"width": 1366, "height": 800}, {"width": 390, "height": 844}
LATE = 400  # milliseconds after which the theme has looked at what may be scrolled, and put it among the stops of Tab
OTHERS = (("light", NARROW, None), ("dark", NARROW, ["color-contrast"]), ("dark", WIDE, ["color-contrast"]))
IN_FULL = ("00_start_here.html", "api/index.html")
ALIKE = """() => {
    for (const e of document.querySelectorAll(".math, .highlight pre, dt.sig")) e.textContent = e.textContent;
    for (const e of [...document.querySelectorAll(".genindextable li, .indextable tr")].slice(40)) e.remove();
}"""

ALONE = """() => {
    const words = (e) => e.textContent.trim().length;
    const within = (e) => e.matches("a") && getComputedStyle(e).display === "inline" // a link in a sentence may be as high as its line
        && words(e.closest("p, li, dd, td, th, figcaption, div") ?? e) > words(e) + 1;
    const beside = (e) => e.closest("label") && e.matches("[type=radio], [type=checkbox]"); // the label is the target
    return [...document.querySelectorAll("a[href], button, input, select, summary, textarea, [role=button]")]
        .filter((e) => e.checkVisibility({visibilityProperty: true}) && !within(e) && !beside(e))
        .map((e) => [e, e.getBoundingClientRect()])
        .filter(([_, box]) => box.width > 0 && box.height > 0 && (box.width < 24 || box.height < 24))
        .map(([e, box]) => `${e.outerHTML.slice(0, 90)} has ${Math.round(box.width)} × ${Math.round(box.height)} pixels`);
}"""


@pytest.fixture(scope="module")
def site():
    return browser.built_site()


def pages(site) -> list[str]:
    """All pages of the site, by their addresses in it."""
    found = (path.relative_to(site).as_posix() for path in site.glob("**/*.html"))
    return sorted(name for name in found if not name.startswith("_static/"))


@pytest.fixture(scope="module")
def visits(site, chrome) -> dict[str, tuple[set[Path], list[str], list[str]]]:
    """Of every page the files that a visit loads, the complaints of axe-core, and the targets that are too small; one visit each, on which
    width and scheme change as they do for a reader.

    Every page is looked at by day on a wide screen, and each third of them in one of the other ways: by night, on a phone, or both. What
    axe-core looks at in thousands of like elements (the letters of code, of formulas and of signatures, and the entries of an index), it
    looks at on two pages.
    """
    found = {}
    context = chrome.new_context()
    try:
        page = context.new_page()
        asked = []
        page.on("request", lambda request: asked.append(request.url.split("?")[0].split("#")[0]))
        with browser.served(site) as address:
            for i, name in enumerate(pages(site)):
                page.emulate_media(color_scheme="light")
                page.set_viewport_size(WIDE)
                asked.clear()
                page.goto(f"{address}/{name}")
                page.wait_for_timeout(LATE)
                files = {site / url.removeprefix(f"{address}/") for url in asked if url.startswith(address)}
                page.add_style_tag(content="*, ::before, ::after { transition: none !important }")  # no colour half way to another
                if name not in IN_FULL:
                    page.evaluate(ALIKE)
                said, small = [], []
                for scheme, size, rules in (("light", WIDE, None), OTHERS[i % 3]):
                    page.emulate_media(color_scheme=scheme)
                    page.set_viewport_size(size)
                    page.wait_for_function("scheme => document.documentElement.dataset.theme === scheme", arg=scheme)
                    if size is NARROW and rules is None:
                        page.wait_for_timeout(LATE)
                    said += [f"{name}, {scheme}, {size['width']}: {text}" for text in browser.complaints(page, "body", rules)]
                    small += [f"{name}, {size['width']}: {text}" for text in page.evaluate(ALONE)]
                found[name] = {file for file in files if file.name != "favicon.ico"}, said, small
    finally:
        context.close()
    return found


def test_axe_core_finds_nothing(visits):
    assert [text for _, said, _ in visits.values() for text in said] == []


def test_targets_are_large(visits):
    """Whatever one clicks, labs or not, but for links in a sentence: 24 pixels, as WCAG 2.5.8 has it."""
    assert [text for _, _, small in visits.values() for text in small] == []


# --- how much a visit loads -----------------------------------------------------------------------------------------------

FIRST, FURTHER = 1_000_000, 500_000  # bytes, as a static host sends them


def test_a_visit_loads_little(visits, site):
    """All that the browser asks for before the reader does anything: on a first visit, and on a further one, of what other pages do not
    have."""
    shared = set.intersection(*(files for files, _, _ in visits.values())) | set(site.glob("katex/**/*"))
    heavy = {}
    for name, (files, _, _) in visits.items():
        sizes = {file: sent(file) for file in files}
        first, further = sum(sizes.values()), sum(size for file, size in sizes.items() if file not in shared)
        if first > FIRST or further > FURTHER:
            heavy[name] = f"{first} bytes, {further} of them its own: {sorted(((n, f.name) for f, n in sizes.items()), reverse=True)[:4]}"
        print(f"{name}: {first} bytes on a first visit, {further} on a further one")
    assert heavy == {}, f"at most {FIRST} bytes on a first visit, {FURTHER} on a further one"


@functools.cache
def sent(file: Path) -> int:
    """Bytes that a static host sends of a file: compressed where that is less."""
    content = file.read_bytes()
    return min(len(content), len(gzip.compress(content, 6)))


# --- keyboard and phone ---------------------------------------------------------------------------------------------------

CHAPTERS = ("03_triplet", "08_dncnn", "10_blind_and_real")
PRESSES = 20  # of Tab, to a chapter's first slider
PANEL = 170  # pixels of a photo on a phone
TARGET = 24


@pytest.fixture(params=CHAPTERS)
def chapter(request, site, chrome):
    """A page with a chapter, on a phone, its labs alive."""
    context = chrome.new_context(viewport=NARROW)
    try:
        page = context.new_page()
        page.goto(f"{site.as_uri()}/{request.param}.html")
        page.wait_for_function("() => [...document.querySelectorAll('.lab')].every(e => e.matches('.lab-alive'))")
        yield page
    finally:
        context.close()


def test_the_first_slider_is_near_to_the_keyboard(chapter):
    """By the link that is there for it; and no formula is a stop on any way."""
    chapter.set_viewport_size(WIDE)
    for presses in range(1, PRESSES):
        chapter.keyboard.press("Tab")
        if chapter.evaluate("() => document.activeElement.textContent") == "Skip to the slider":
            # the link shows while it is focused, once it has moved in
            chapter.wait_for_function("() => document.activeElement.getBoundingClientRect().top >= 0")
            chapter.keyboard.press("Enter")
            chapter.keyboard.press("Tab")
            assert chapter.evaluate("() => document.activeElement === document.querySelector('.lab input[type=range]')")
            assert presses + 1 <= PRESSES
            break
    else:
        pytest.fail(f"{PRESSES} times Tab did not lead to the link to the slider")
    assert chapter.locator(".math span[tabindex], .math a").count() == 0


def test_labs_on_a_phone(chapter):
    """Photos are large enough to see noise, and a lab that is wider than the phone is moved by finger and keyboard; targets are large."""
    assert chapter.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    for lab in chapter.locator(".lab").all():
        view = lab.locator(".lab-view")
        assert view.get_attribute("tabindex") == "0" and view.bounding_box()["width"] <= NARROW["width"]
        if lab.evaluate("e => !e.matches('.figure-lab')"):
            assert lab.locator("canvas").bounding_box()["width"] >= 3 * PANEL
            assert view.evaluate("e => { e.scrollLeft = 1000; return e.scrollLeft; }") > 100
        for control in lab.locator("input, select").all():
            box = control.bounding_box()
            assert box["height"] >= TARGET and box["width"] >= TARGET


def test_labs_have_a_name_and_announce_a_move_once(chapter):
    for lab in chapter.locator(".lab").all():
        assert lab.get_attribute("role") == "group" and len(lab.get_attribute("aria-label")) > 5
        assert lab.locator("[aria-live=polite], [role=status], output:not([aria-live=off])").count() == 1


@pytest.fixture(scope="module")
def reader(chrome):
    """A page that the tests below share; each goes where it wants."""
    context = chrome.new_context()
    try:
        yield context.new_page()
    finally:
        context.close()


def test_photos_side_by_side_are_large_on_a_phone(reader, site):
    """And the page itself moves no more than before."""
    reader.set_viewport_size(NARROW)
    reader.goto(f"{site.as_uri()}/08_dncnn.html")
    panels = reader.locator("article img[alt^='The astronaut at σ']").first
    panels.evaluate("e => e.style.setProperty('--panels', 4)")  # as plots.photographs does
    assert panels.bounding_box()["width"] >= 4 * PANEL
    around = panels.locator("xpath=ancestor::div[contains(@class, 'output')][1]")
    assert around.evaluate("e => { e.scrollLeft = 1000; return e.scrollLeft; }") > 100
    assert reader.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_what_a_chapter_needs_is_shown_once(size, reader, site):
    reader.set_viewport_size(size)
    reader.goto(f"{site.as_uri()}/09_ffdnet.html")
    (box,) = (e for e in reader.locator(".chapter-facts").all() if e.is_visible())
    assert box.locator("dt").all_inner_texts() == ["Run time", "Before", "Data", "Download"]
    assert box.bounding_box()["x"] >= 0 and box.bounding_box()["y"] < size["height"], "without scrolling"


# --- pictures, large ------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(site):
    """Where the site begins on a server: the pixels of a picture from a file are nobody's to read."""
    with browser.served(site) as address:
        yield address


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_opens_large_by_keyboard_and_shows_its_pixels(scheme, reader, served):
    reader.emulate_media(color_scheme=scheme)
    reader.set_viewport_size(WIDE)
    reader.goto(f"{served}/08_dncnn.html")
    reader.wait_for_function("scheme => document.documentElement.dataset.theme === scheme", arg=scheme)
    assert reader.locator(".lab button.enlarge, .lab + button.enlarge").count() == 0
    opener = reader.locator("img[src$='.webp'] + button.enlarge").first
    picture = opener.locator("xpath=preceding-sibling::img[1]")
    assert reader.locator("article .cell_output img:not(.lab img)").count() == reader.locator(".cell_output button.enlarge").count()
    opener.focus()
    corner, edge = opener.bounding_box(), picture.bounding_box()
    assert abs(corner["x"] + corner["width"] - edge["x"] - edge["width"]) < 2 and abs(corner["y"] - edge["y"]) < 2
    reader.keyboard.press("Enter")
    dialog = reader.get_by_role("dialog", name="Picture, enlarged")
    dialog.wait_for()
    large = dialog.locator("img")
    assert large.get_attribute("alt") == picture.get_attribute("alt") and large.bounding_box()["width"] > edge["width"]
    assert browser.complaints(reader, "dialog") == []
    reader.keyboard.press("Shift+Tab")
    assert reader.evaluate("document.activeElement.ariaLabel") == "larger"
    for _ in range(2):
        reader.keyboard.press("Enter")
    times = int(re.match(r"\d+", dialog.locator("output").inner_text())[0])
    assert times >= 2
    levels = np.kron(browser.levels(large), np.ones((times, times, 1), np.uint8))
    reader.locator(".enlarged-place").evaluate("e => { [e.scrollLeft, e.scrollTop] = [0, 0]; }")
    view, box = reader.locator(".enlarged-place").bounding_box(), large.bounding_box()
    left, top = max(view["x"], box["x"]), max(view["y"], box["y"])
    side = 300
    shot = reader.screenshot(clip={"x": left, "y": top, "width": side, "height": side})
    seen = browser.levels_of(shot)
    x, y = round(left - box["x"]), round(top - box["y"])
    assert levels.std() > 5 and (seen == levels[y : y + side, x : x + side]).all(), "a gray value is what it was"
    for key in ("Tab", "Tab", "Tab", "Tab", "Tab"):
        reader.keyboard.press(key)
        assert dialog.evaluate("e => e.contains(document.activeElement) || document.activeElement === document.body")
    reader.keyboard.press("Escape")
    assert dialog.count() == 0 and opener.evaluate("e => e === document.activeElement"), "the focus is where it was"


def test_a_drawing_opens_large_by_a_click_on_a_phone(reader, site):
    reader.emulate_media(color_scheme="light")
    reader.set_viewport_size(NARROW)
    reader.goto(f"{site.as_uri()}/08_dncnn.html")
    drawing = reader.locator("img.enlargeable[src$='.svg'], img.enlargeable[src^='data:image/svg']").first
    before = drawing.bounding_box()["width"]
    drawing.click()
    large = reader.locator("dialog.enlarged img")
    large.wait_for()
    assert large.bounding_box()["width"] > 1.5 * before and reader.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    reader.get_by_role("button", name="close").click()
    assert reader.locator("dialog").filter(has=reader.locator(".enlarged-place")).count() == 0


# --- the search -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["http", "file"])
def test_the_search_shows_where_it_found_and_chapters_first(way, reader, site):
    errors, asked = [], []
    reader.on("pageerror", lambda error: errors.append(error.message))
    reader.on("request", lambda request: asked.append(request.url))
    reader.set_viewport_size(WIDE)
    with browser.reached(site, way) as address:
        reader.goto(f"{address}/search.html?q=receptive+field")
        reader.locator("#search-results [role=status]", has_text="found").wait_for()
        assert reader.locator("#search-results h3").all_inner_texts() == ["Chapters and pages", "The library"]
        chapters, library = reader.locator("#search-results ul.search").all()
        links = [e.get_attribute("href") for e in chapters.locator("a").all()]
        assert {"08_dncnn.html", "11_inside_the_denoiser.html"} <= set(links) and not any(link.startswith("api/") for link in links)
        assert all(e.get_attribute("href").startswith("api/") for e in library.locator("a").all())
        for place in chapters.locator("li").filter(has=reader.locator("a[href='08_dncnn.html']")).locator("p.context").all():
            assert place.locator("mark").count() >= 2 and len(place.inner_text()) <= 260
        assert reader.locator("#search-results p.context").count() > 5
        assert not [url for url in asked if url.endswith(".html") and "search.html" not in url], "no page is loaded for its excerpt"
        assert browser.complaints(reader, "#search-results") == []
        reader.goto(f"{address}/search.html?q=xyzzyx")
        reader.locator("#search-results [role=status]", has_text="did not match").wait_for()
    assert errors == []
