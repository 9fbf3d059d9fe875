"""That the site reaches every reader: nothing that axe-core calls serious or critical, little to load, near to the keyboard.

The site is ``_build/html``, as ``make book`` leaves it; ``COURSE_SITE`` names another folder.
"""

from __future__ import annotations

import functools
import gzip
from pathlib import Path

import browser
import pytest

WIDE, NARROW = {"width": 1366, "height": 800}, {"width": 390, "height": 844}
LATE = 400  # milliseconds after which the theme has looked at what may be scrolled, and put it among the stops of Tab
OTHERS = (("light", NARROW, None), ("dark", NARROW, ["color-contrast"]), ("dark", WIDE, ["color-contrast"]))
IN_FULL = ("00_start_here.html", "api/index.html")
ALIKE = """() => {
    for (const e of document.querySelectorAll(".math, .highlight pre, dt.sig")) e.textContent = e.textContent;
    for (const e of [...document.querySelectorAll(".genindextable li, .indextable tr")].slice(40)) e.remove();
}"""


@pytest.fixture(scope="module")
def site():
    return browser.built_site()


def pages(site) -> list[str]:
    """All pages of the site, by their addresses in it."""
    found = (path.relative_to(site).as_posix() for path in site.glob("**/*.html"))
    return sorted(name for name in found if not name.startswith("_static/"))


@pytest.fixture(scope="module")
def visits(site, chrome) -> dict[str, tuple[set[Path], list[str]]]:
    """Of every page the files that a visit loads, and the complaints of axe-core; one visit each, on which width and scheme change as
    they do for a reader.

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
                said = []
                for scheme, size, rules in (("light", WIDE, None), OTHERS[i % 3]):
                    page.emulate_media(color_scheme=scheme)
                    page.set_viewport_size(size)
                    page.wait_for_function("scheme => document.documentElement.dataset.theme === scheme", arg=scheme)
                    if size is NARROW and rules is None:
                        page.wait_for_timeout(LATE)
                    said += [f"{name}, {scheme}, {size['width']}: {text}" for text in browser.complaints(page, "body", rules)]
                found[name] = {file for file in files if file.name != "favicon.ico"}, said
    finally:
        context.close()
    return found


def test_axe_core_finds_nothing(visits):
    assert [text for _, said in visits.values() for text in said] == []


# --- how much a visit loads -----------------------------------------------------------------------------------------------

FIRST, FURTHER = 1_000_000, 500_000  # bytes, as a static host sends them


def test_a_visit_loads_little(visits, site):
    """All that the browser asks for before the reader does anything: on a first visit, and on a further one, of what other pages do not
    have."""
    shared = set.intersection(*(files for files, _ in visits.values())) | set(site.glob("katex/**/*"))
    heavy = {}
    for name, (files, _) in visits.items():
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
