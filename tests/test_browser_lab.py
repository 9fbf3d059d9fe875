"""A chapter in JupyterLab, driven as a reader does it: run all cells, move the slider, choose a photo, stop a training."""

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from types import SimpleNamespace

import browser
import nbformat
import pytest

import execute

CHAPTER, SMALL = "08_dncnn.ipynb", "00_start_here.ipynb"
TRAINING = "run = training.fit("
PATIENCE = 900  # seconds for a chapter that takes one minute on a quiet laptop
ANSWER = 3.0  # seconds in which a move of the slider must show; it takes a tenth of that on a quiet laptop
LAB = ".jp-CodeCell .widget-vbox >> nth=0"  # the noise lab is the first one of its chapter
WIDGET = f"{LAB} >> .widget-slider"
IMAGE = ".jp-CodeCell .widget-html-content img"
VISIBLE = "e => e.checkVisibility({checkVisibilityCSS: true}) && e.getBoundingClientRect().height > 0"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder for the server and for the pictures of failures."""
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def lab(place):
    """JupyterLab on a copy of the book, as ``make lab`` starts it: its address with ``{}`` for a file, that file's folder, and what
    the reader's browser was asked to open."""
    browser.find_browser()
    try:
        import jupyterlab  # noqa: F401
    except ImportError:
        browser.absent("jupyterlab is not installed: pip install 'course-lib[lab]'")
    shutil.copytree(browser.ROOT / "book", place / "book", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "_build"))
    settings = place / "config/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    port, token = browser.free_port(), secrets.token_hex(16)
    asked = place / "asked.html"
    reader = place / "reader.sh"  # stands in for the reader's browser, and keeps what that would have shown
    reader.write_text(f'#!/bin/sh\ncp "${{1#file://}}" {asked}\n')
    reader.chmod(0o755)
    command = [sys.executable, "-m", "jupyterlab", *arguments_of_make_lab(), "--allow-root", f"--ServerApp.browser={reader} %s",
               "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
               f"--ServerApp.token={token}"]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if k not in ("COURSE_DATA", "COURSE_PRESET", "COURSE_SEED")}
    environment |= {"JUPYTER_CONFIG_DIR": str(place / "config"), "JUPYTER_DATA_DIR": str(place / "data"),
                    "JUPYTER_RUNTIME_DIR": str(place / "runtime"), "IPYTHONDIR": str(place / "ipython"),
                    "PYTHONUNBUFFERED": "1"}  # fmt: skip
    log = place / "jupyterlab.log"
    with log.open("w") as file:
        server = subprocess.Popen(command, cwd=place, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 300
        while not answers(f"{address}/api/status?token={token}"):
            if server.poll() is not None or time.monotonic() > until:
                pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.5)
        yield SimpleNamespace(url=f"{address}/lab/tree/{{}}?reset&token={token}", origin=address, folder=place / "book",
                              asked=asked, contents=f"{address}/api/contents?token={token}")  # fmt: skip
    finally:
        server.terminate()  # ends its kernels as well
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def arguments_of_make_lab() -> list[str]:
    """What ``make lab`` passes to JupyterLab."""
    said = subprocess.run(["make", "-n", "lab"], cwd=browser.ROOT, capture_output=True, text=True, check=True).stdout
    [line] = [line for line in said.splitlines() if "/jupyter lab " in line]
    return shlex.split(line)[2:]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def opened(chrome, lab, name: str, place):
    """A notebook in JupyterLab, once its kernel is ready; its page must ask no other machine for anything."""
    context = chrome.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(120_000)
    strangers = []
    here = (lab.origin, lab.origin.replace("http", "ws"), "data:", "blob:")
    context.on("request", lambda request: None if request.url.startswith(here) else strangers.append(request.url))
    try:
        with browser.screenshot_of_failure(page, place):
            page.goto(lab.url.format(name))
            page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
            page.locator("#jp-main-statusbar").get_by_text(re.compile(r"Python 3.* \| Idle")).wait_for(timeout=300_000)
            yield page
            assert strangers == []
    finally:
        context.close()


def stripped(path) -> list[str]:
    """Remove the stored outputs of a notebook, so that all that is shown comes from a run; returns its code cells."""
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)
    return [cell.source for cell in cells]


def position(sources: list[str], text: str) -> int:
    """Which code cell contains ``text``; exactly one does."""
    (found,) = (i for i, source in enumerate(sources) if text in source)
    return found


def prompts(page) -> list[str]:
    return [text.strip() for text in page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").all_text_contents()]


def output(page, cell: int) -> list[str]:
    """The texts that a code cell has put out, one for each output."""
    area = page.locator(".jp-Notebook .jp-CodeCell").nth(cell).locator(".jp-OutputArea-output")
    return [text.strip() for text in area.all_text_contents()]


def run_all(page) -> None:
    page.locator(".lm-MenuBar-item").get_by_text("Run", exact=True).click()
    page.locator(".lm-Menu-item[data-command='runmenu:run-all']").click()
    page.wait_for_function("() => [...document.querySelectorAll('.jp-InputPrompt')].some(e => e.textContent.includes('*'))")


def finished(page) -> bool:
    idle = page.locator(".jp-Notebook-ExecutionIndicator").get_attribute("data-status") == "idle"
    return idle and not any("*" in prompt for prompt in prompts(page))


def wait_until(condition, what: str, seconds: float = PATIENCE) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)


def save(page, file) -> None:
    """Ctrl-S, and until the notebook is there to its last brace: the server writes it in place."""
    before = file.stat().st_mtime_ns
    page.keyboard.press("Control+s")
    wait_until(lambda: file.stat().st_mtime_ns > before and file.read_bytes().endswith(b"}\n"), "the notebook is saved", 120)


# --- what one sees at first -------------------------------------------------------------------------------------------------


def test_make_lab_opens_the_first_chapter_and_hides_what_the_site_is_made_of(lab):
    wait_until(lab.asked.is_file, "the reader's browser is started", 60)
    assert re.search(r"/lab/tree/00_start_here\.ipynb\?token=", lab.asked.read_text())
    own = lab.folder / "notes.md"
    own.write_text("a reader's own file is shown")
    with urllib.request.urlopen(lab.contents, timeout=60) as reply:
        listed = {entry["name"] for entry in json.load(reply)["content"]}
    own.unlink()
    assert listed == {path.name for path in (browser.ROOT / "book").glob("*.ipynb")} | {"notes.md"}


def test_a_chapter_that_was_not_run_shows_the_start_and_is_not_modified(chrome, lab, place):
    """Its picture asks to run the cell, there is no control that does nothing, and to save it changes no byte."""
    file = lab.folder / SMALL
    before = file.read_bytes()
    with opened(chrome, lab, SMALL, place) as page:
        start = page.locator(".jp-OutputArea-output .lab")
        start.scroll_into_view_if_needed()
        image = start.locator("img")
        assert image.is_visible() and image.get_attribute("alt").startswith("camera with noise of σ = 25: ")
        assert browser.pixels(image)["roughness"] > 0
        assert start.inner_text().endswith("Run this cell to move the slider.")
        assert page.locator(".jp-OutputArea").locator("input, select, button, canvas").count() == 0
        page.wait_for_timeout(2000)
        assert page.locator(".lm-TabBar-tab.jp-mod-dirty").count() == 0, "a notebook that nobody touched counts as modified"
        save(page, file)
        assert file.read_bytes() == before


LIFE = """import torch
from course_lib import widgets
photos = {"ramp": torch.arange(64, dtype=torch.uint8).repeat(1, 64, 1)}
lab = widgets.noise_lab({"nothing": lambda noisy, sigma: noisy}, photos, page_size=64)
lab"""


def test_the_life_of_a_lab(chrome, lab, place):
    """While its kernel lives there is the view, whose slider says σ; after it is gone, and the page loaded anew, there is the start."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(LIFE)], metadata={"kernelspec": execute.KERNELSPEC})
    nbformat.write(notebook, lab.folder / "life.ipynb")
    with opened(chrome, lab, "life.ipynb", place) as page:
        run_all(page)
        wait_until(lambda: finished(page), "the cell runs", 120)
        handle, start = page.locator(f"{WIDGET} .noUi-handle"), page.locator(".jp-OutputArea-output .lab")
        handle.wait_for()
        assert not start.evaluate(VISIBLE), "one picture at a time"

        def says(words):
            wait_until(lambda: handle.get_attribute("aria-valuetext") == words, f"the slider says {words}", 30)
            assert f" of {words}: " in page.locator(IMAGE).first.get_attribute("alt")

        assert handle.get_attribute("aria-label") == "noise σ"
        says("σ = 25")
        handle.focus()
        page.keyboard.press("ArrowRight")
        says("σ = 30")
        page.locator(".lm-MenuBar-item").get_by_text("Kernel", exact=True).click()
        page.locator(".lm-Menu-item[data-command='kernelmenu:restart']").click()
        page.locator(".jp-Dialog-button.jp-mod-accept").click()
        page.wait_for_timeout(3000)
        save(page, lab.folder / "life.ipynb")
        page.reload()
        start.wait_for()
        page.get_by_text("model not found").wait_for(state="attached", timeout=60_000)
        assert not page.get_by_text("model not found").evaluate(VISIBLE)
        assert start.locator("img").evaluate(VISIBLE) and start.get_by_text("Run this cell").evaluate(VISIBLE)


# --- a chapter that runs ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chapter(chrome, lab, place):
    """Chapter 8 after Run All Cells: its page, its file, and what the progress bar of its training showed."""
    file = lab.folder / CHAPTER
    training = position(stripped(file), TRAINING)
    with opened(chrome, lab, CHAPTER, place) as page:
        page.locator(".jp-Notebook .jp-CodeCell").nth(training).scroll_into_view_if_needed()
        began, bar = time.monotonic(), []
        run_all(page)

        def watched() -> bool:
            now = output(page, training)
            if now and (not bar or bar[-1] != now):
                bar.append(now)
            return finished(page)

        wait_until(watched, "all cells of the chapter run")
        print(f"\n{CHAPTER} in JupyterLab: {time.monotonic() - began:.0f} s, the bar was seen in {len(bar)} states")
        yield SimpleNamespace(page=page, file=file, training=training, bar=bar)


@pytest.fixture
def page(chapter, place):
    with browser.screenshot_of_failure(chapter.page, place):
        yield chapter.page


def test_every_cell_ran(chapter, page, lab):
    save(page, chapter.file)  # outputs that are folded away are not on the page, but they are in the file
    cells = [cell for cell in nbformat.read(chapter.file, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    wrong = [o for cell in cells for o in cell.outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert wrong == []
    assert page.locator(".jp-Notebook [data-mime-type='application/vnd.jupyter.error']").count() == 0


def test_progress_bar(chapter):
    """It moves while the network trains, in one place, and leaves one finished line."""
    assert all(len(texts) == 1 for texts in chapter.bar), "more than one output"
    shown = [texts[0] for texts in chapter.bar if texts[0]]
    assert len(shown) >= 4, shown
    steps = [int(match[1]) for text in shown[:-1] if (match := re.search(r"(\d+)/\d+ ", text))]
    assert len(steps) >= 3 and steps == sorted(steps), steps
    assert re.fullmatch(r"DnCNN on .+: (\d+) of \1 steps in [\d.]+ s, [\d.]+ steps/s, loss \S+, psnr \S+", shown[-1])
    assert output(chapter.page, chapter.training) == [shown[-1]]


def state(page) -> dict:
    """What the slider's cell shows."""
    image = page.locator(IMAGE).first
    return {
        "sigma": page.locator(f"{WIDGET} .widget-readout").text_content().strip(),
        "alt": image.get_attribute("alt"),
        "src": image.get_attribute("src"),
        **browser.pixels(image),
    }


def choose(page, control: str, value: str) -> None:
    """Choose from the dropdown with this label, and wait until the alternative text names the choice."""
    box = page.locator(f"{LAB} >> .widget-dropdown", has=page.get_by_text(control, exact=True)).locator("select")
    box.select_option(value)
    shows(page, value)


def shows(page, text: str) -> None:
    page.wait_for_function("([css, text]) => document.querySelector(css)?.alt.includes(text)", arg=[IMAGE, text])


def moved(page, move, what: str) -> dict:
    """Make a move of the slider and wait for its picture, whose text must name the σ that the slider shows."""
    before, began = state(page), time.perf_counter()
    move()
    page.wait_for_function("([css, alt]) => ![alt, undefined].includes(document.querySelector(css)?.alt)",
                           arg=[IMAGE, before["alt"]])  # fmt: skip
    seconds = time.perf_counter() - began
    shows(page, f" of σ = {page.locator(f'{WIDGET} .widget-readout').text_content().strip()}: ")
    after = state(page)
    print(f"\n{what}: from σ = {before['sigma']} to {after['sigma']}, its picture after {1000 * seconds:.0f} ms")
    assert f"noise of σ = {after['sigma']}:" in after["alt"]
    for part in ("sigma", "alt", "src", "digest"):
        assert before[part] != after[part], f"{what}: {part} is still {before[part]!r:.100}"
    assert after["width"] > 0 and after["roughness"] > 0
    assert seconds < ANSWER
    return after


def test_slider_by_mouse(page):
    handle, track = page.locator(f"{WIDGET} .noUi-handle"), page.locator(f"{WIDGET} .noUi-base")
    handle.scroll_into_view_if_needed()
    page.wait_for_timeout(2000)  # cells that come into view are drawn then, and push the slider away
    handle.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    assert handle.is_visible() and page.locator(IMAGE).first.is_visible()
    shows(page, "camera with noise of σ = 25: ")

    def drag(share: float):
        def move():
            knob, whole = handle.bounding_box(), track.bounding_box()
            page.mouse.move(knob["x"] + knob["width"] / 2, knob["y"] + knob["height"] / 2)
            page.mouse.down()
            page.mouse.move(whole["x"] + share * whole["width"], knob["y"] + knob["height"] / 2, steps=10)
            page.mouse.up()

        return move

    rough = moved(page, drag(1), "dragged to the right end")
    assert rough["sigma"] == "75"
    smooth = moved(page, drag(0), "dragged to the left end")
    assert smooth["sigma"] == "0" and "the noisy photo, exact;" in smooth["alt"]
    assert smooth["roughness"] < rough["roughness"]

    def click():
        whole = track.bounding_box()
        page.mouse.click(whole["x"] + whole["width"] / 2, whole["y"] + whole["height"] / 2)

    assert moved(page, click, "clicked in the middle")["sigma"] in ("35", "40")


def test_slider_by_keyboard(page):
    """Arrow keys on the handle: each moves by one position. These are σ that no cell has computed before."""
    choose(page, "photo", "cat")
    handle = page.locator(f"{WIDGET} .noUi-handle")
    handle.scroll_into_view_if_needed()
    handle.focus()
    start = float(state(page)["sigma"])
    up = moved(page, lambda: page.keyboard.press("ArrowRight"), "arrow right")
    assert float(up["sigma"]) == start + 5
    assert float(moved(page, lambda: page.keyboard.press("ArrowRight"), "arrow right")["sigma"]) == start + 10
    again = moved(page, lambda: page.keyboard.press("ArrowLeft"), "arrow left")
    assert (again["alt"], again["digest"]) == (up["alt"], up["digest"])
    assert again["alt"].startswith("cat with noise of σ = ")
    choose(page, "photo", "camera")


def test_photo_and_denoiser(page):
    """Each photo, and each denoiser, is named by the alternative text, and has a picture of its own."""
    digests = []
    for photo in ("astronaut", "cat", "flower", "camera"):
        choose(page, "photo", photo)
        assert state(page)["alt"].startswith(f"{photo} with noise")
        digests.append(state(page)["digest"])
    for denoiser in ("non-local means", "total variation"):
        choose(page, "denoiser", denoiser)
        assert f"the output of {denoiser}, " in state(page)["alt"]
        digests.append(state(page)["digest"])
    assert len(set(digests)) == len(digests)
    choose(page, "denoiser", "DnCNN, trained here")


def test_a_panel_of_the_site_is_its_text(page):
    """JupyterLab cannot run it: there stands a text with a link, and no directive that it does not know."""
    text = page.locator(".jp-MarkdownCell", has_text="On the website that network, FFDNet, runs here")
    text.scroll_into_view_if_needed()
    assert text.get_by_role("link", name="the noise lab").is_visible()
    assert not any(wrong in text.inner_text() for wrong in (":::", "noise-panel", "Unknown Directive"))


def test_switch_of_the_degradation(page):
    """The second lab of the chapter: its choice and its slider, computed when they are visited."""
    lab = page.locator(".jp-CodeCell .widget-vbox >> nth=1")
    image = lab.locator("img")
    select = lab.locator(".widget-dropdown", has=page.get_by_text("degradation", exact=True)).locator("select")
    select.scroll_into_view_if_needed()
    seen = {image.get_attribute("alt")}
    for choice in ("low resolution", "JPEG", "noise"):
        select.select_option(choice)
        wait_until(lambda choice=choice: f"with {choice}, " in image.get_attribute("alt"), f"{choice} is shown", 30)
        seen.add(image.get_attribute("alt"))
    lab.locator(".noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    wait_until(lambda: "σ = 50" in image.get_attribute("alt"), "the slider chose the strongest noise", 30)
    assert len(seen) == 3


def test_stop_button(chrome, lab, place):
    """The training cell of "Start here", with far too many steps: the stop button ends it, and what follows can be run."""
    notebook = nbformat.read(lab.folder / SMALL, as_version=4)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    training = position(sources, TRAINING)
    sources = sources[: training + 1]
    assert '"steps": "300"' in sources[training]
    sources[training] = sources[training].replace('"steps": "300"', '"steps": "1000000"')
    sources.append('print("interrupted:", run.interrupted, "trained:", run.steps[-1] > 0, "usable:", 6 * 7)')
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(notebook, lab.folder / "stop.ipynb")
    with opened(chrome, lab, "stop.ipynb", place) as page:
        run_all(page)
        wait_until(lambda: re.search(r"\b[1-9]\d*/1000000 ", "".join(output(page, training))), "the training is under way")
        page.locator(".jp-NotebookPanel-toolbar [data-jp-item-name=interrupt]").click()
        wait_until(lambda: finished(page), "the training stops", 120)
        (line,) = output(page, training)
        assert re.match(r"DnCNN on .+: \d+ of 1000000 steps in ", line)
        assert output(page, training + 1) == ["interrupted: True trained: True usable: 42"]
        assert prompts(page) == [f"[{i + 1}]:" for i in range(len(sources))]
