"""The built site in a real browser: its sliders by mouse and by keyboard, and that it needs neither network nor server.

The site is ``_build/html``, as ``make book`` leaves it; ``COURSE_SITE`` names another folder.
"""

import io
import re
from contextlib import contextmanager

import browser
import numpy as np
import pytest
from PIL import Image

CHAPTERS = ("00_start_here", "08_dncnn", "09_ffdnet")  # with a noise lab
WITH_RESTORATIONS = ("09_ffdnet", "10_blind_and_real", "11_inside_the_denoiser", "12_noise2noise", "13_noise2void", "14_ap_bsn")
WITH_FIGURES = (  # with labs of figures
    "01_templates", "02_siamese", "03_triplet", "07_before_after", "11_inside_the_denoiser", "14_ap_bsn",
)  # fmt: skip
KNOWN = (  # harmless words of the theme
    "Got invalid theme mode: . Resetting to auto.",  # the first visit has no choice of light or dark yet
)
RANGE, IMAGE, TITLES = ".noise-lab input[type=range]", ".noise-lab canvas", ".noise-lab .lab-live .lab-titles"
TALLEST = 15_000  # pixels of a chapter at 1366 wide with its solutions closed: what one reads at a sitting
LENGTHS = [path.stem for path in sorted((browser.ROOT / "book").glob("[0-9][0-9]_*.md"))]
FORMULAS = "n => document.querySelectorAll('article .math .katex-html').length >= n"
API = ("api/index", "api/ground_floor", "api/metric_learning", "api/denoising", "api/roof")
BY_KEYBOARD = 500  # Tab presses after which something cannot be reached


@pytest.fixture(scope="module")
def site():
    return browser.built_site()


@pytest.fixture(scope="module", params=["http", "file"])
def address(request, site):
    """Where the site begins: on a server, and in a folder that one opens without any."""
    with browser.reached(site, request.param) as where:
        yield where


@pytest.fixture
def visit(chrome, tmp_path):
    """``with visit(url, **options) as page``: a page that is loaded. No request may leave the site, no error be logged."""

    @contextmanager
    def visiting(url, **options):
        context = chrome.new_context(**options)
        page = context.new_page()
        page.set_default_timeout(60_000)
        requests, refused, errors = [], [], []
        context.on("request", lambda request: requests.append(request.url))
        # "csp" is what Chromium calls a script that was announced but is not wanted, JavaScript being switched off
        given_up = ("csp", "net::ERR_ABORTED")  # a picture that was still to come when the page was left, or drawn anew
        context.on("requestfailed", lambda r: None if r.failure in given_up else refused.append(f"{r.url} ({r.failure})"))
        context.on("response", lambda response: refused.append(response.url) if response.status >= 400 else None)
        page.on("console", lambda message: errors.append(message.text) if complaint(message) else None)
        page.on("pageerror", lambda error: errors.append(error.message))
        try:
            with browser.screenshot_of_failure(page, tmp_path):
                page.goto(url, wait_until="load")
                if options.get("java_script_enabled", True):
                    page.wait_for_function("() => [...document.querySelectorAll('.lab')].every(e => e.matches('.lab-alive'))")
                yield page
                home = re.sub(r"(api/)?[^/]+$", "", url)
                strangers = [r[:200] for r in requests if not r.startswith((home, "data:", "blob:"))]
                assert url in requests, "the record of requests lacks the page itself"
                assert not strangers, f"the page asks for what is not on the site: {strangers}"
                assert not refused, f"the site lacks {refused}"
                assert [error for error in errors if error not in KNOWN] == []
        finally:
            context.close()

    return visiting


def complaint(message) -> bool:
    """Is this console message an error? Not that there is no icon, for which Chromium asks on its own."""
    return message.type == "error" and not message.location.get("url", "").endswith("/favicon.ico")


def shown(page) -> dict:
    """What the lab shows now, after checks that its parts agree: output, alternative text, titles, decoded picture."""
    image, output = page.locator(IMAGE), page.locator(".noise-lab output")
    now = {
        "sigma": output.inner_text().removeprefix("σ = "),
        "alt": image.get_attribute("aria-label"),
        "titles": page.locator(f"{TITLES} span").all_inner_texts(),
        "photo": page.locator(".noise-lab select").input_value(),
        **browser.pixels(image),
    }
    assert now["alt"].startswith(f"{now['photo']} with noise of σ = {now['sigma']}:"), now["alt"]
    assert page.locator(RANGE).get_attribute("aria-valuetext") == f"σ = {now['sigma']}"
    assert now["width"] > 0 and now["height"] > 0 and now["roughness"] > 0
    noisy, denoised, error = now["titles"]
    assert noisy.startswith("noisy, ") and f"the noisy photo, {noisy.removeprefix('noisy, ')};" in now["alt"]
    assert denoised.startswith("denoised, ") and f", {denoised.removeprefix('denoised, ')}; right" in now["alt"]
    assert error.startswith("error")
    return now


def differ(before: dict, after: dict) -> None:
    """Everything that tells of σ has changed."""
    for part in ("sigma", "alt", "titles", "digest"):
        assert before[part] != after[part], f"{part} is still {before[part]!r:.100}"


def last(page) -> int:
    """The highest position of the slider."""
    return int(page.locator(RANGE).get_attribute("max"))


def position(page) -> int:
    return int(page.locator(RANGE).input_value())


def along(page, share: float) -> tuple[float, float]:
    """Where on the screen the thumb is at this share of the track."""
    page.locator(RANGE).scroll_into_view_if_needed()
    box = page.locator(RANGE).bounding_box()
    thumb = 16  # pixels wide in Chromium, whose middle stays that far within the track
    return box["x"] + thumb / 2 + share * (box["width"] - thumb), box["y"] + box["height"] / 2


def tab_to(page, matches: str) -> None:
    """Press Tab until the focus is on an element for which the JavaScript expression in ``e`` holds."""
    for _ in range(BY_KEYBOARD):
        page.keyboard.press("Tab")
        if page.evaluate(f"() => {{ const e = document.activeElement; return Boolean({matches}); }}"):
            return
    pytest.fail(f"{BY_KEYBOARD} times Tab did not lead to {matches}")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_mouse(chapter, address, visit):
    with visit(f"{address}/{chapter}.html") as page:
        assert page.locator(RANGE).is_visible() and page.locator(IMAGE).is_visible() and page.locator(TITLES).is_visible()
        start = shown(page)
        page.mouse.click(*along(page, 1))
        clicked = shown(page)
        assert position(page) == last(page)
        differ(start, clicked)
        page.mouse.move(*along(page, 1))
        page.mouse.down()
        page.mouse.move(*along(page, 0.5))
        dragging = shown(page)  # the picture follows while the button is down
        differ(clicked, dragging)
        page.mouse.move(*along(page, 0), steps=5)
        page.mouse.up()
        dragged = shown(page)
        assert position(page) == 0
        differ(dragging, dragged)
        assert dragged["titles"][0] == "noisy, exact" and dragged["sigma"] == "0"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_keyboard(chapter, address, visit):
    with visit(f"{address}/{chapter}.html") as page:
        before, began = shown(page), position(page)
        tab_to(page, f"e.matches('{RANGE}')")
        assert page.locator(RANGE).evaluate("e => e.matches(':focus-visible')")
        for key, expected in (
            ("ArrowRight", began + 1),
            ("ArrowLeft", began),
            ("Home", 0),
            ("End", last(page)),
            ("ArrowDown", last(page) - 1),
        ):
            page.keyboard.press(key)
            now = shown(page)
            assert position(page) == expected, f"{key} led to position {position(page)}"
            differ(before, now)
            before = now
        assert page.url == f"{address}/{chapter}.html", "an arrow key turned the page"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_frame(chapter, address, visit):
    """Each photo at each σ: alternative text, titles, output and pixels tell of the same frame, and no two are alike."""
    with visit(f"{address}/{chapter}.html") as page:
        photos = page.locator(".noise-lab option").all_inner_texts()
        assert 1 < len(photos) <= 3
        digests, noisy = set(), {}
        for photo in photos:
            page.locator(".noise-lab select").select_option(photo)
            page.locator(RANGE).focus()
            page.keyboard.press("Home")
            frames = [shown(page)]
            for _ in range(last(page)):
                page.keyboard.press("ArrowRight")
                frames.append(shown(page))
            sigmas = [float(frame["sigma"]) for frame in frames]
            assert len(sigmas) >= 5 and sigmas == sorted(set(sigmas)) and sigmas[0] == 0
            assert {frame["photo"] for frame in frames} == {photo}
            # Text and pixels are of one frame: where σ rises the noisy photo is rougher, and its PSNR lower.
            assert [frame["roughness"] for frame in frames] == sorted(frame["roughness"] for frame in frames)
            noisy[photo] = [float(re.fullmatch(r"noisy, ([\d.]+) dB", frame["titles"][0])[1]) for frame in frames[1:]]
            assert noisy[photo] == sorted(set(noisy[photo]), reverse=True)
            digests |= {frame["digest"] for frame in frames}
        assert len(digests) == len(photos) * len(sigmas)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_photos(chapter, address, visit):
    """The select changes the photo, and keeps σ; by keyboard too."""
    with visit(f"{address}/{chapter}.html") as page:
        photos = page.locator(".noise-lab option").all_inner_texts()
        page.locator(RANGE).focus()
        page.keyboard.press("End")
        frames = [shown(page)]
        for photo in photos[1:]:
            page.locator(".noise-lab select").select_option(photo)
            frames.append(shown(page))
            assert frames[-1]["alt"].startswith(f"{photo} ")
        assert len({frame["digest"] for frame in frames}) == len(photos)
        assert len({frame["sigma"] for frame in frames}) == 1
        page.locator(RANGE).focus()
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowUp")
        assert shown(page)["photo"] == photos[-2]


@pytest.mark.parametrize(
    ("chapter", "kinds", "steps"),
    [("08_dncnn", ["noise", "low resolution", "JPEG"], 3),
     ("10_blind_and_real", ["σ_c = 0.02", "σ_c = 0.06", "σ_c = 0.02, JPEG 60"], 3)],
)  # fmt: skip
def test_degradations(chapter, kinds, steps, address, visit):
    """The control that switches the degradation, and the slider for its strength: each of the frames is another one."""
    with visit(f"{address}/{chapter}.html") as page:
        lab = page.locator(".degradation-lab")
        choices = lab.locator("option").all_inner_texts()
        assert choices == kinds
        digests, strengths = set(), set()
        for choice in choices:
            lab.locator("select").select_option(choice)
            lab.locator("input").focus()
            page.keyboard.press("Home")
            for _ in range(steps):
                strength, alt = lab.locator("output").inner_text(), lab.locator("canvas").get_attribute("aria-label")
                assert f"with {choice}, {strength}: left the degraded photo, " in alt
                assert lab.locator("input").get_attribute("aria-valuetext") == strength
                titles = lab.locator(".lab-live .lab-titles span").all_inner_texts()
                assert all(title.split(", ")[1] in alt for title in titles[:2])
                digests.add(browser.pixels(lab.locator("canvas"))["digest"])
                strengths.add((choice, strength))
                page.keyboard.press("ArrowRight")
        assert len(digests) == len(strengths) == 3 * steps
        other = browser.pixels(page.locator(".lab:not(.degradation-lab) canvas").first)["digest"]
        assert other not in digests, "the other lab of the page is another one"


@pytest.mark.parametrize("chapter", WITH_RESTORATIONS)
def test_restorations(chapter, address, visit):
    """Every pair of a choice and a position is another picture, with words that say which it is."""
    with visit(f"{address}/{chapter}.html") as page:
        labs = page.locator(".restoration-lab").all()
        assert labs
        for lab in labs:
            told, choice = (label.split("\n")[0].strip() for label in lab.locator("label").all_inner_texts())
            slider, digests = lab.locator("input"), set()
            last = int(slider.get_attribute("max"))
            choices = lab.locator("option").all_inner_texts()
            for chosen in choices:
                lab.locator("select").select_option(chosen)
                slider.focus()
                page.keyboard.press("Home")
                for _ in range(last + 1):
                    position, alt = lab.locator("output").inner_text(), lab.locator("canvas").get_attribute("aria-label")
                    assert f", {choice.split()[0]} {chosen}, {told} {position}: left the degraded photo, " in alt
                    titles = lab.locator(".lab-live .lab-titles span").all_inner_texts()
                    assert all(title.split(", ")[1] in alt for title in titles[:2])
                    digests.add(browser.pixels(lab.locator("canvas"))["digest"])
                    page.keyboard.press("ArrowRight")
            assert len(digests) == len(choices) * (last + 1)


@pytest.mark.parametrize("chapter", WITH_FIGURES)
def test_figures_along_a_slider(chapter, address, visit):
    """Every lab of figures, by keyboard: output, words and picture change together, and no two positions look the same."""
    with visit(f"{address}/{chapter}.html") as page:
        labs = page.locator(".figure-lab")
        assert labs.count() >= 1
        for lab in labs.all():
            slider, image = lab.locator("input[type=range]"), lab.locator("canvas")
            choices = lab.locator("option").all_inner_texts() or [None]
            assert lab.locator("select").count() == (choices != [None])
            for choice in choices:
                if choice:
                    lab.locator("select").select_option(choice)
                slider.focus()
                page.keyboard.press("Home")
                digests, positions = [], int(slider.get_attribute("max")) + 1
                for _ in range(positions):
                    assert slider.get_attribute("aria-valuetext") == lab.locator("output").inner_text() != ""
                    assert lab.locator(".lab-live .lab-titles span").count() == 1 and len(image.get_attribute("aria-label")) > 40
                    digests.append(browser.pixels(image)["digest"])
                    page.keyboard.press("ArrowRight")
                assert positions >= 3 and len(set(digests)) == positions


@pytest.mark.parametrize("chapter", WITH_FIGURES)
def test_figures_without_javascript_and_on_a_telephone(chapter, address, visit):
    with visit(f"{address}/{chapter}.html", java_script_enabled=False, viewport={"width": 360, "height": 740}) as page:
        for lab in page.locator(".figure-lab").all():
            image = lab.locator("img")
            assert image.is_visible() and image.evaluate("e => e.naturalWidth") > 0
            assert lab.locator("input, select, output, label").count() == 0
            box = image.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 360
    with visit(f"{address}/{chapter}.html", viewport={"width": 360, "height": 740}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        boxes = [control.bounding_box() for control in page.locator(".figure-lab").locator("input, select, output").all()]
        assert boxes and all(box["x"] >= 0 and box["x"] + box["width"] <= 360 for box in boxes)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_without_javascript(chapter, address, visit):
    """The first picture with its text, and no control that would do nothing."""
    with visit(f"{address}/{chapter}.html", java_script_enabled=False) as page:
        start = page.locator(".noise-lab .lab-start")
        image = start.locator("img")
        assert image.is_visible() and image.evaluate("e => e.naturalWidth") > 0
        alt, titles = image.get_attribute("alt"), start.locator(".lab-titles span").all_inner_texts()
        assert re.match(r"camera with noise of σ = 25: ", alt)
        assert all(title.split(", ")[1] in alt for title in titles[:2])
        assert page.locator(".lab").locator("input, select, output, label, button").count() == 0
        assert not start.get_by_text("Run this cell").is_visible(), "there is no cell to run"
        solution = page.locator(".solution").first
        assert solution.locator(".cell_input").first.is_visible(), "a solution that nothing can open must be open"


@pytest.mark.parametrize("chapter", CHAPTERS + WITH_FIGURES)
def test_formulas_and_alternative_texts(chapter, address, visit):
    with visit(f"{address}/{chapter}.html") as page:
        formulas = page.locator("article .math").count()
        assert formulas > 0
        page.wait_for_function(FORMULAS, arg=formulas)
        assert page.locator(".katex-error").count() == 0
        images = page.locator("article img")
        texts = [image.get_attribute("alt") for image in images.all()]
        assert len(texts) >= 3
        for text in texts:
            assert text and len(text.split()) >= 4, f"{text!r} says nothing about its picture"
            assert not re.search(r"\.(png|webp|svg|jpe?g)\b|[0-9a-f]{16}", text), f"{text!r} is the name of a file"
        images.evaluate_all("all => all.forEach(e => e.loading = 'eager')")
        page.wait_for_function("() => [...document.querySelectorAll('article img')].every(e => e.complete && e.naturalWidth > 0)")


@pytest.mark.parametrize("chapter", LENGTHS)
def test_a_chapter_is_not_too_long(chapter, site, visit):
    with visit(f"{site.as_uri()}/{chapter}.html", viewport={"width": 1366, "height": 768}) as page:
        page.locator("article .solution button.toggle-button").first.wait_for()
        formulas = page.locator("article .math").count()
        page.wait_for_function(FORMULAS, arg=formulas)
        assert page.evaluate("document.documentElement.scrollHeight") <= TALLEST


@pytest.mark.parametrize("chapter", CHAPTERS + WITH_FIGURES)
def test_tables(chapter, address, visit):
    """Tables, also those that cells have put out, are tables and no lines of bars."""
    with visit(f"{address}/{chapter}.html") as page:
        assert page.locator("article table").count() >= 2
        assert page.locator("article p", has_text=re.compile(r"^\s*\|.*\|")).all_text_contents() == []


@pytest.mark.parametrize("chapter", CHAPTERS + WITH_FIGURES)
def test_solutions(chapter, address, visit):
    """Solutions are closed; a click opens one, and so does the keyboard."""
    with visit(f"{address}/{chapter}.html") as page:
        solutions = page.locator("article .solution")
        page.locator("article .solution button.toggle-button").first.wait_for()
        assert solutions.count() == page.locator("article .exercise").count() >= 3
        for i in range(solutions.count()):
            assert solutions.nth(i).locator(".cell_input").count() > 0
            assert not solutions.nth(i).locator(".cell_input").first.is_visible()
            assert not solutions.nth(i).locator("section p").first.is_visible()
        first, second = solutions.nth(0), solutions.nth(1)
        first.locator("button.toggle-button").click()
        assert first.locator(".cell_input").first.is_visible() and first.locator("section p").first.is_visible()
        assert not second.locator(".cell_input").first.is_visible()
        first.locator("button.toggle-button").click()
        first.locator(".cell_input").first.wait_for(state="hidden")
        first.locator("button.toggle-button").evaluate("e => e.blur()")
        tab_to(page, f"e.closest('.solution')?.id === '{second.get_attribute('id')}' && e.matches('button')")
        page.keyboard.press("Enter")
        assert second.locator(".cell_input").first.is_visible() and second.locator("section p").first.is_visible()
        assert not first.locator(".cell_input").first.is_visible()


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_narrow_window(chapter, address, visit):
    """A telephone: nothing is wider than the window but a figure in a box that scrolls, and the page does not move sideways."""
    with visit(f"{address}/{chapter}.html", viewport={"width": 360, "height": 740}) as page:
        page.locator(RANGE).scroll_into_view_if_needed()
        wide = page.evaluate(
            """() => [...document.querySelectorAll("article img, article canvas, .lab, .lab *")]
                .filter(e => !e.closest(".lab-view > *") && e.checkVisibility() && e.getBoundingClientRect().width > 0)
                .filter(e => !e.matches("img") || getComputedStyle(e.closest(".output") ?? e).overflowX != "auto")
                .map(e => [e.outerHTML.slice(0, 80), e.getBoundingClientRect()])
                .filter(([_, box]) => box.left < 0 || box.right > 360)
                .map(([html, box]) => `${html} from ${box.left} to ${box.right}`)"""
        )
        assert wide == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.mouse.move(180, 300)
        page.mouse.wheel(300, 0)
        page.wait_for_timeout(200)
        assert page.evaluate("window.scrollX") == 0
        start = shown(page)
        page.mouse.click(*along(page, 1))
        differ(start, shown(page))


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_what_stands_above_a_picture_is_true_of_it(chapter, address, visit):
    """Each photo at each σ, as the browser has it: the PSNR is that of the caption, and the noise is that of one pattern."""
    with visit(f"{address}/{chapter}.html") as page:
        for photo in page.locator(".noise-lab option").all_inner_texts():
            page.locator(".noise-lab select").select_option(photo)
            page.locator(RANGE).focus()
            page.keyboard.press("Home")
            clean, noises = None, []
            for _ in range(last(page) + 1):
                now, levels = shown(page), browser.levels(page.locator(IMAGE)).astype(float)
                side = (levels.shape[1] - 8) // 3
                noisy, denoised, error = (levels[:, i * (side + 4) :][:, :side] for i in range(3))
                clean = noisy if clean is None else clean  # the slider begins at σ = 0
                for picture, title in ((noisy, now["titles"][0]), (denoised, now["titles"][1])):
                    found = 10 * np.log10(255**2 / np.mean((picture - clean) ** 2)) if (picture != clean).any() else np.inf
                    told = title.split(", ")[1]
                    assert found == (np.inf if told == "exact" else pytest.approx(float(told.removesuffix(" dB")), abs=0.1)), title
                assert (error == np.clip(128 + 4 * (denoised - clean), 0, 255)).all()
                if now["sigma"] != "0":
                    free = (noisy > 0) & (noisy < 255)
                    noises.append(np.where(free, noisy - clean, np.nan) / float(now["sigma"]))
                page.keyboard.press("ArrowRight")
            for noise in noises[:-1]:
                both = np.isfinite(noise) & np.isfinite(noises[-1])
                assert both.mean() > 0.3 and np.corrcoef(noise[both], noises[-1][both])[0, 1] > 0.95


SHOWN = """() => [...document.querySelectorAll("article :is(img, canvas)")]
  .filter(e => e.checkVisibility({checkVisibilityCSS: true})).map(e => {
    const [style, box] = [getComputedStyle(e), e.getBoundingClientRect()], around = [];
    for (let a = e; a; a = a.parentElement) around.push(getComputedStyle(a));
    return {filtered: around.some(a => a.filter !== "none" || a.opacity !== "1" || a.mixBlendMode !== "normal"),
            size: [box.width, box.height], padding: style.padding, radius: style.borderRadius};
})"""


@pytest.mark.parametrize("chapter", CHAPTERS + WITH_FIGURES)
def test_at_night_every_gray_value_is_as_by_day(chapter, site, visit):
    """The theme darkens and stretches pictures in its dark mode: here a gray value is a measurement. Compared on the screen."""
    seen = {}
    for scheme in ("light", "dark"):
        options = {"color_scheme": scheme, "viewport": {"width": 1600, "height": 1000}}
        with browser.served(site) as address, visit(f"{address}/{chapter}.html", **options) as page:
            assert page.evaluate("document.documentElement.dataset.theme") == scheme
            pictures = [e for e in page.locator("article :is(img, canvas)").all() if e.is_visible()]
            seen[scheme] = page.evaluate(SHOWN)
            assert len(seen[scheme]) >= 2
            assert not any(look["filtered"] for look in seen[scheme])
            # of pixels, not diagrams, which every size draws anew
            images = [e for e in pictures if e.evaluate("e => e.tagName == 'IMG' && !/image.svg|[.]svg$/.test(e.src)")]
            for picture in (page.locator(".lab canvas").first, *images[:1]):
                levels = browser.levels(picture)
                assert levels.std() > 5 and (on_screen(page, picture) == levels).all()
    assert seen["light"] == seen["dark"]


def on_screen(page, element) -> np.ndarray:
    """The pixels of an element in its own size, uint8 ``(H, W, 3)``, as the screen has them."""
    element.evaluate(
        """e => e.style.cssText += `position: fixed; left: 0; top: 0; z-index: 99999; max-width: none;
                                   width: ${e.naturalWidth ?? e.width}px; height: ${e.naturalHeight ?? e.height}px`"""
    )
    page.wait_for_timeout(300)
    height, width = element.evaluate("e => [e.naturalHeight ?? e.height, e.naturalWidth ?? e.width]")
    shot = page.screenshot(clip={"x": 0, "y": 0, "width": width, "height": height})
    element.evaluate("e => e.style.position = e.style.width = e.style.height = ''")
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))


@pytest.mark.parametrize("chapter", ("03_triplet", "08_dncnn"))
@pytest.mark.parametrize("way", ["back", "reload"])
def test_control_and_picture_agree_after(way, chapter, address, visit):
    with visit(f"{address}/{chapter}.html") as page:
        lab = page.locator(".lab").first
        lab.locator("input").focus()
        page.keyboard.press("End")
        if way == "reload":
            page.reload()
        else:
            page.goto(f"{address}/index.html")
            page.go_back()
        page.wait_for_function("() => [...document.querySelectorAll('.lab')].every(e => e.matches('.lab-alive'))")
        page.wait_for_timeout(300)  # a browser fills in forms late
        at = int(lab.locator("input").input_value())
        row = lab.evaluate("(lab, key) => { const {rows} = JSON.parse(lab.querySelector('script').textContent);"
                           " return rows[key ?? Object.keys(rows)[0]]; }",
                           lab.locator("select").input_value() if lab.locator("select").count() else None)  # fmt: skip
        assert lab.locator("output").inner_text() == row[at]["position"]
        assert lab.locator("canvas").get_attribute("aria-label") == row[at]["alt"]


@pytest.mark.parametrize("chapter", CHAPTERS + WITH_FIGURES)
def test_on_paper(chapter, site, visit):
    """Solutions are closed and leave no frame, code is wrapped, and a slider is the picture of its start."""
    with visit(f"{site.as_uri()}/{chapter}.html", viewport={"width": 700, "height": 1000}) as page:
        page.locator("article .solution button.toggle-button").first.wait_for()
        page.locator(".lab input").first.focus()
        page.keyboard.press("End")
        page.emulate_media(media="print")
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert not any(e.is_visible() for e in page.locator("article .solution").all())
        assert not any(e.is_visible() for e in page.locator("article details:not([open])").all())
        assert page.locator("article .exercise").first.is_visible()
        for lab in page.locator(".lab").all():
            assert lab.locator(".lab-start img").is_visible()
            assert not any(e.is_visible() for e in lab.locator(".lab-live, canvas, input").all())
        cut = page.evaluate(
            """() => [...document.querySelectorAll("article pre")].filter(e => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1)
                .map(e => e.textContent.slice(0, 60))"""
        )
        assert cut == []
        page.emulate_media(media="screen")
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert page.locator("article .solution").first.is_visible() and page.locator(".lab canvas").first.is_visible()


PAGES = (
    "index", "metric_learning_today", "reproduction", "evening", "bibliography", "formulas", "glossary", "lecturers", "quiz", "gallery_lab",
)  # fmt: skip


@pytest.mark.parametrize("name", (*PAGES, *API))
def test_no_page_moves_sideways_on_a_telephone_or_throws(name, site, visit):
    """``visit`` fails for every error that the page throws."""
    with visit(f"{site.as_uri()}/{name}.html", viewport={"width": 360, "height": 740}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.mouse.move(180, 300)
        page.mouse.wheel(300, 0)
        page.wait_for_timeout(200)
        assert page.evaluate("window.scrollX") == 0


# --- the noise lab, whose networks test_browser_noise_lab looks at ---------------------------------------------------------

LAB = ".noise-lab-live"


@contextmanager
def lab(visit, address, **options):
    """The noise lab of the site, its network running."""
    with visit(f"{address}/noise_lab.html", **options) as page:
        if page.locator(".noise-lab-begin").count() == 0:
            browser.absent(page.locator(".noise-lab-shown").inner_text())
        tab_to(page, "e.matches('.noise-lab-begin')")
        page.keyboard.press("Enter")
        page.wait_for_function("() => noiseLabState().result")
        yield page


def test_the_noise_lab_runs_on_the_site(address, visit):
    """From the keyboard alone; no key turns the page."""
    with lab(visit, address) as page:
        assert page.locator(".stored-lab").is_hidden() and page.locator(LAB).is_visible()
        before = page.evaluate("noiseLabState().result.psnr")
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        page.wait_for_function("before => noiseLabState().result && noiseLabState().result.psnr !== before", arg=before)
        tab_to(page, "e.matches('input[value=wipe]')")
        page.keyboard.press("ArrowDown")
        tab_to(page, "e.matches('.noise-lab-view canvas')")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Space")
        page.wait_for_function("() => noiseLabState().result")
        assert page.url == f"{address}/noise_lab.html"
        assert page.evaluate("noiseLabState().map.filter((sigma) => Math.round(255 * sigma) === 60).length") > 100, "Space has painted"
        assert page.locator("#noise-lab").get_by_role("status").count() == 1, "one place announces"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1366])
def test_the_noise_lab_is_accessible(width, scheme, site, visit):
    """Before and after the network runs, and while one paints: names, roles, contrast, sizes, nothing wider than the window."""
    with visit(f"{site.as_uri()}/noise_lab.html", viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        assert browser.complaints(page, "article") == []
    with lab(visit, site.as_uri(), viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        page.get_by_label("the network is told the truth").uncheck()
        assert browser.complaints(page, "article") == []
        page.get_by_label("paint noise, and tell the network").check()
        assert browser.complaints(page, "article") == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        small = page.evaluate(
            """() => [...document.querySelectorAll("#noise-lab :is(button, select, input, label)")]
                .filter(e => e.checkVisibility() && !(e.closest("label") && e.matches("input:is([type=radio], [type=checkbox])")))
                .map(e => [e.outerHTML.slice(0, 80), e.getBoundingClientRect()])
                .filter(([_, box]) => box.height < 24 || box.width < 24 || box.left < 0 || box.right > innerWidth).map(([html]) => html)"""
        )
        assert small == []
        picture = page.locator(".noise-lab-view canvas")
        assert picture.bounding_box()["width"] >= min(300, 0.8 * width)
        levels = browser.levels(picture)
        page.locator(".noise-lab-line, .noise-lab-brush").evaluate_all("all => all.forEach(e => e.remove())")
        assert (on_screen(page, picture) == levels).all(), "a gray value is as by day"
