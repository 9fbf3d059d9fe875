"""The noise slider shows what it says, in JupyterLab and on the static page, and breaks neither."""

import base64
import io
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib import batches, data, noise, plots, training, widgets
from course_lib.denoising import dncnn

SIGMAS = {"sigmas_255": (0, 15, 25, 50), "page_sigmas_255": (0, 25, 50), "start": 25}


class Blur:
    """A denoiser that counts its calls and what it was called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, noisy, sigma):
        self.calls.append((tuple(noisy.shape), sigma, torch.is_autocast_enabled("cpu")))
        return torch.nn.functional.avg_pool2d(noisy, 3, 1, 1)


def photo(channels=1, height=40, width=48, seed=0):
    small = torch.rand(1, channels, 5, 6, generator=torch.Generator().manual_seed(seed))
    return batches.to_uint8(torch.nn.functional.interpolate(small, (height, width), mode="bilinear"))[0]


def make(denoisers=None, photos=None, **options):
    photos = photos or {"cat": photo(seed=1), "moon": photo(seed=2)}
    return widgets.noise_lab(denoisers or {"blur": Blur()}, photos, **{**SIGMAS, "page_size": 24, **options})


@pytest.fixture(autouse=True)
def single_precision(monkeypatch):
    monkeypatch.setenv("COURSE_PRECISION", "32-true")


def psnr(estimate, clean):
    """By NumPy, in double precision, of the estimate clamped to [0, 1]."""
    difference = np.clip(estimate.double().numpy(), 0, 1) - clean.double().numpy()
    return 10 * math.log10(1 / np.mean(difference**2))


class Page(HTMLParser):
    """The tags of a page with their attributes, each with the tags around it, and the text inside labels."""

    VOID = ("img", "input")

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.labels, self.options = [], [], [], []
        self.feed(text)
        assert self.open == [], "every tag is closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes), tuple(self.open)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open[-1:] == ["label"]:
            self.labels.append(text.strip())
        if self.open[-1:] == ["option"]:
            self.options.append(text)

    def all(self, *names):
        return [(attributes, around) for tag, attributes, around in self.tags if tag in names]


def frames(page):
    """What the script element holds, ended where a browser ends it."""
    [text] = re.findall(r'<script type="application/json">(.*?)</script', page, re.DOTALL | re.IGNORECASE)
    return json.loads(text)


# --- what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"photos": {}}, ValueError, "at least one denoiser and one photo"),
        ({"denoisers": {}}, ValueError, "at least one denoiser and one photo"),
        ({"sigmas_255": (0, 25, 256)}, ValueError, r"σ = 256, but it must lie in \[0, 255\]"),
        ({"page_sigmas_255": (-1, 25)}, ValueError, "σ = -1"),
        ({"sigmas_255": (25, math.nan)}, ValueError, "σ = nan"),
        ({"start": 15}, ValueError, "start = 15 must be one of sigmas_255 and of page_sigmas_255"),
        ({"sigmas_255": (0, 50)}, ValueError, "start = 25"),
        ({"photos": {"cat": torch.rand(1, 8, 8)}}, TypeError, "torch.float32"),
    ],
)
def test_arguments_that_make_no_sense(options, error, message):
    arguments = {"denoisers": {"blur": Blur()}, "photos": {"cat": photo()}, **SIGMAS, **options}
    with pytest.raises(error, match=message):
        widgets.noise_lab(**arguments)


# --- frames ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_a_frame_against_a_naive_computation(channels):
    picture = photo(channels)
    frame = make(photos={"cat": picture}).frame("blur", "cat", 25)
    assert torch.equal(frame.clean, (picture.float() / 255)[None])
    assert abs((frame.degraded - frame.clean).std().item() * 255 - 25) < 2
    assert torch.allclose(frame.restored, Blur()(frame.degraded, 0), atol=1e-6)
    error = (frame.degraded - frame.clean).double().numpy()  # not clamped: the noise is not clipped
    assert frame.degraded_psnr == pytest.approx(-10 * math.log10((error**2).mean()), abs=1e-3)
    assert frame.restored_psnr == pytest.approx(psnr(frame.restored, frame.clean), abs=1e-3)
    before, after = (f"{value:.2f} dB" for value in (frame.degraded_psnr, frame.restored_psnr))
    assert all(words in frame.alt for words in ("cat", "σ = 25", "blur", f"noisy photo, {before}", f"blur, {after}"))
    assert f"noisy, {before}" in frame.caption() and f"denoised, {after}" in frame.caption()


def test_the_three_parts_of_the_picture():
    frame = make().frame("blur", "cat", 25)
    shown = np.asarray(Image.open(io.BytesIO(frame.picture(quality=100))).convert("L")).astype(float)
    assert shown.shape == (40, 3 * 48 + 2 * 4)
    error = 0.5 + 4 * (frame.restored - frame.clean)
    parts = {0: frame.degraded, 52: frame.restored, 104: error}
    for left, part in parts.items():
        expected = (part[0, 0].clamp(0, 1) * 255).numpy()
        assert np.abs(shown[:, left : left + 48] - expected).mean() < 4


def test_error_picture():
    clean, estimate = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).unbind(0)
    estimate = clean + (estimate - 0.5) / 2
    estimate[0, 0, 0] = clean[0, 0, 0]
    picture = widgets.error_picture(estimate, clean)
    expected = np.clip(0.5 + widgets.ERROR_GAIN * (estimate.double().numpy() - clean.double().numpy()), 0, 1)
    assert np.allclose(picture.numpy(), expected, atol=1e-5) and picture[0, 0, 0] == 0.5
    assert (expected == 0).any() and (expected == 1).any(), "the clamping is looked at too"


def test_the_same_noise_only_stronger():
    lab = make()
    patterns = [(f.degraded - f.clean) / s for s in (15, 50) for f in [lab.frame("blur", "cat", s)]]
    assert torch.allclose(*patterns, atol=1e-6)
    other = make(seed=1).frame("blur", "cat", 15)
    assert not torch.allclose((other.degraded - other.clean) / 15, patterns[0], atol=1e-3)


def test_without_noise_the_noisy_photo_is_exact():
    frame = make().frame("blur", "cat", 0)
    assert torch.equal(frame.degraded, frame.clean) and frame.degraded_psnr == math.inf
    assert "noisy, exact" in frame.caption() and "inf" not in frame.alt + frame.caption()
    assert make({"none": lambda noisy, sigma: noisy}).frame("none", "cat", 0).caption().count("exact") == 2


def test_the_denoiser_is_called_once_a_position():
    blur = Blur()
    lab = make({"blur": blur})
    for _ in range(2):
        for sigma in (0, 25):
            lab.frame("blur", "cat", sigma)
        lab.page()
    positions = [((1, 1, 40, 48), s / 255, False) for s in (0, 25)]
    assert blur.calls[:2] == positions
    assert len(blur.calls) == 2 + 6 and {shape for shape, *_ in blur.calls[2:]} == {(1, 1, 24, 24)}


def test_bfloat16_moves_no_psnr_visibly(monkeypatch):
    """By a network that was trained: at random weights rounding errors are not those of a denoiser."""
    images = data.load("photos", "train").images[:3]
    plan = dncnn.Settings(depth=4, width=16, batch_norm=False, zero_last=True, batch_size=8, steps=60, learning_rate=4e-3,
                          final_learning_rate=0.0, schedule="cosine", scales=(0.5,))  # fmt: skip
    model = dncnn.DnCNN(plan, seed=0)
    training.fit(model, dncnn.prepare(images, plan), dncnn, plan, progress=False)
    model.cpu()

    def denoise(noisy, sigma):
        used.append(torch.is_autocast_enabled("cpu"))
        return model.denoise(noisy)

    photos, values, used = {"coffee": batches.center(images[0], 96)}, {}, []
    for precision in ("32-true", "bf16-mixed"):
        monkeypatch.setenv("COURSE_PRECISION", precision)
        lab = widgets.noise_lab({"DnCNN": denoise}, photos)
        values[precision] = [lab.frame("DnCNN", "coffee", s).restored_psnr for s in (5, 15, 25, 50, 75)]
    assert used == [False] * 5 + [True] * 5
    assert values["32-true"] != values["bf16-mixed"] and np.allclose(*values.values(), atol=0.02, rtol=0)
    assert values["32-true"][2] > 23, "it was trained"


# --- the static page ------------------------------------------------------------------------------------------------------


def test_every_position_of_the_page_has_picture_text_and_caption():
    lab = make(photos={name: photo(3, seed=i) for i, name in enumerate("abc")})
    content = frames(lab.page())
    assert list(content) == ["a", "b"], "two photos at most"
    for name, sigma, shown in [(n, s, f) for n in "ab" for s, f in zip((0, 25, 50), content[n], strict=True)]:
        frame = lab.frame("blur", name, sigma, 24)
        assert shown["position"] == f"σ = {sigma}"
        assert shown["alt"] == frame.alt and f"{name} with noise of σ = {sigma}:" in frame.alt
        assert shown["caption"] == frame.caption()
        assert base64.b64decode(shown["image"]) == frame.picture(widgets.PAGE_QUALITIES[0])
        assert Image.open(io.BytesIO(base64.b64decode(shown["image"]))).size == (3 * 24 + 8, 24)


def test_without_javascript_the_page_shows_the_start_and_no_controls():
    lab = make()
    page = Page(lab.page())
    [(image, around)] = page.all("img")
    start = frames(lab.page())["cat"][1]
    assert image["alt"] == start["alt"] and image["src"] == f"data:image/webp;base64,{start['image']}"
    [controls] = [attributes for attributes, _ in page.all("div") if attributes["class"] == "lab-controls"]
    assert "hidden" in controls and around == ("div",), "the picture is not inside of what is hidden"
    assert start["caption"] in lab.page()


def test_controls_are_labelled():
    page = Page(make().page())
    assert [around[-1] for _, around in page.all("input", "select")] == ["label", "label"]
    assert page.labels == ["noise", "photo"] and page.options == ["cat", "moon"]
    [(slider, _)] = page.all("input")
    assert (slider["type"], slider["min"], slider["max"], slider["step"], slider["value"]) == ("range", "0", "2", "1", "1")
    assert slider["aria-valuetext"] == "σ = 25"
    assert any(attributes.get("aria-live") for attributes, _ in page.all("div"))


@pytest.mark.parametrize("name", ["</script>", "</SCRIPT ", "<b>&amp;\"'", "<!--<script>"])
def test_names_cannot_break_the_page(name):
    """After ``<!--<script`` a browser would take the next ``</script>`` for text."""
    lab = make({name: Blur()}, photos={name: photo(), "other": photo()})
    text = lab.page()
    assert "<!--" not in text
    page = Page(text)
    assert len(page.all("script")) == 1 and page.options == [name, "other"] and page.all("b") == []
    assert f"{name} with noise" in frames(text)[name][1]["alt"]


def test_at_most_40_frames():
    photos = {name: photo(height=8, width=8) for name in "ab"}
    with pytest.raises(ValueError, match=r"42 frames, but at most 40: give fewer σ"):
        make(photos=photos, sigmas_255=range(21), page_sigmas_255=range(21), start=3).page()
    page = make(photos=photos, sigmas_255=range(20), page_sigmas_255=range(20), start=3, page_size=8).page()
    assert [len(row) for row in frames(page).values()] == [20, 20]


def test_the_page_takes_the_best_coding_that_there_is_room_for():
    lab = make(photos={"cat": photo(seed=1)})
    assert lab.static.most_bytes == widgets.LARGEST_BUDGET == 300_000
    shown = [lab.frame("blur", "cat", sigma, 24) for sigma in (0, 25, 50)]
    for quality in widgets.PAGE_QUALITIES:
        images = [base64.b64encode(frame.picture(quality)).decode() for frame in shown]
        size = sum(map(len, images))
        lab = make(photos={"cat": photo(seed=1)}, page_bytes=size)
        assert [frame["image"] for frame in frames(lab.page())["cat"]] == images
    lab = make(photos={"cat": photo(seed=1)}, page_bytes=size - 1)
    with pytest.raises(ValueError, match=f"the frames take {size} bytes, but at most {size - 1}: give fewer, or smaller"):
        lab.page()


# --- JupyterLab -----------------------------------------------------------------------------------------------------------


def alt_of(lab):
    [(image, _)] = Page(lab.picture.value).all("img")
    return image["alt"]


def test_the_controls_choose_the_picture():
    lab = make({"blur": Blur(), "none": lambda noisy, sigma: noisy})
    assert lab.view is lab.view
    assert (lab.sigma.value, lab.photo.value, lab.denoiser.value) == (25, "cat", "blur")
    assert all(control.description for control in (lab.sigma, lab.photo, lab.denoiser))
    assert [value for _, value in lab.sigma.options] == [0, 15, 25, 50] and lab.photo.options == ("cat", "moon")
    assert alt_of(lab) == lab.frame("blur", "cat", 25).alt
    lab.sigma.value = 50
    assert alt_of(lab) == lab.frame("blur", "cat", 50).alt and "σ = 50" in alt_of(lab)
    lab.photo.value = "moon"
    assert alt_of(lab) == lab.frame("blur", "moon", 50).alt
    lab.denoiser.value = "none"
    assert alt_of(lab) == lab.frame("none", "moon", 50).alt
    assert lab.frame("none", "moon", 50).caption() in lab.picture.value


def test_an_error_of_the_denoiser_is_shown_and_raised():
    def broken(noisy, sigma):
        if sigma > 0.15:
            raise RuntimeError("out of <memory>")
        return noisy

    lab = make({"broken": broken})
    assert "img" in lab.view.children[1].value
    with pytest.raises(RuntimeError, match="out of <memory>"):
        lab.sigma.value = 50
    assert "could not be computed" in lab.picture.value and "out of &lt;memory&gt;" in lab.picture.value
    assert "<img" not in lab.picture.value, "no picture of another position is left standing"
    lab.sigma.value = 15
    assert alt_of(lab) == lab.frame("broken", "cat", 15).alt


def test_two_faces_of_one_output():
    lab = make()
    bundle = lab._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == lab.view.model_id
    assert bundle["text/html"] == lab.page()
    assert bundle["text/plain"] == lab.frame("blur", "cat", 25, 24).alt  # what the page shows at first


# --- a choice of degradations ---------------------------------------------------------------------------------------------

DEGRADATIONS = {
    "noise": {"σ = 15": lambda clean: clean + 15 / 255, "σ = 50": lambda clean: clean + 50 / 255},
    "JPEG": {"quality 40": lambda clean: noise.jpeg(clean, 40), "quality 5": lambda clean: noise.jpeg(clean, 5)},
}


def degraded(**options):
    restorers = {"darker": lambda images: images - 15 / 255, "nothing": lambda images: images}
    photos = {"cat": photo(seed=1), "moon": photo(seed=2)}
    return widgets.degradation_lab(**{"restorers": restorers, "photos": photos, "degradations": DEGRADATIONS, "page_size": 24, **options})


def test_a_frame_of_a_degradation():
    lab = degraded()
    frame = lab.frame("darker", "cat", "noise", "σ = 15")
    assert torch.allclose(frame.restored, frame.clean, atol=1e-6) and frame.restored_psnr > 80
    assert frame.degraded_psnr == pytest.approx(20 * math.log10(255 / 15), abs=0.01)
    assert all(words in frame.alt for words in ("cat with noise, σ = 15", "left the degraded photo, 24.6", "output of darker"))
    jpeg = lab.frame("nothing", "moon", "JPEG", "quality 5")
    assert torch.equal(jpeg.degraded, noise.jpeg(jpeg.clean, 5)) and torch.equal(jpeg.restored, jpeg.degraded)


def test_the_page_of_degradations_shows_the_first_photo_by_the_first_restorer():
    lab = degraded()
    content = frames(lab.page())
    assert {name: [frame["position"] for frame in row] for name, row in content.items()} == {
        "noise": ["σ = 15", "σ = 50"], "JPEG": ["quality 40", "quality 5"]}  # fmt: skip
    for name, row in content.items():
        for shown in row:
            frame = lab.frame("darker", "cat", name, shown["position"], 24)
            assert (shown["alt"], shown["caption"]) == (frame.alt, frame.caption())
            assert base64.b64decode(shown["image"]) == frame.picture(widgets.PAGE_QUALITIES[0])
    page = Page(lab.page())
    assert page.labels == ["strength", "degradation"] and page.options == ["noise", "JPEG"]
    [(slider, _)] = page.all("input")
    assert (slider["min"], slider["max"], slider["value"], slider["aria-valuetext"]) == ("0", "1", "0", "σ = 15")


def test_the_controls_choose_degradation_and_strength():
    lab = degraded()
    assert lab.view is lab.view and alt_of(lab) == lab.frame("darker", "cat", "noise", "σ = 15").alt
    lab.strength.value = 1
    assert alt_of(lab) == lab.frame("darker", "cat", "noise", "σ = 50").alt
    lab.degradation.value = "JPEG"
    assert alt_of(lab) == lab.frame("darker", "cat", "JPEG", "quality 5").alt
    lab.photo.value, lab.restorer.value = "moon", "nothing"
    assert alt_of(lab) == lab.frame("nothing", "moon", "JPEG", "quality 5").alt
    bundle = lab._repr_mimebundle_()
    assert bundle["text/html"] == lab.page() and "application/vnd.jupyter.widget-view+json" in bundle


def test_too_many_strengths_are_refused_before_they_are_computed():
    many = {"many": {str(n): (lambda clean: 1 / 0) for n in range(41)}}
    with pytest.raises(ValueError, match="41 frames, but at most 40: give fewer positions"):
        degraded(degradations=many).page()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"restorers": {}}, ValueError, "at least one restorer"),
        ({"photos": {}}, ValueError, "one photo"),
        ({"degradations": {}}, ValueError, "one to three degradations"),
        ({"degradations": {name: DEGRADATIONS["JPEG"] for name in "abcd"}}, ValueError, "one to three degradations"),
        ({"degradations": {**DEGRADATIONS, "third": {"weak": lambda x: x}}}, ValueError, "equally many strengths"),
        ({"photos": {"cat": torch.rand(1, 8, 8)}}, TypeError, "torch.float32"),
    ],
)
def test_degradations_that_make_no_sense(options, error, message):
    with pytest.raises(error, match=message):
        degraded(**options)


# --- pairs of a degradation and a restoration -------------------------------------------------------------------------------


def restoration_lab(choices=("σ = 15", "σ = 50"), **options):
    """What is added is the choice, what is taken away the position."""
    add = lambda s: lambda clean: clean + s / 255  # noqa: E731
    take = lambda s: lambda degraded: degraded - s / 255  # noqa: E731
    rows = {c: {f"told {t}": (add(int(c[-2:])), take(t)) for t in (15, 50, 75)} for c in choices}
    photos = options.pop("photos", {"cat": photo(seed=1), "moon": photo(seed=2)})
    return widgets.restoration_lab(rows, photos, slider="told", choice="true", page_size=24, **options)


def test_each_pair_degrades_and_restores_in_its_own_way():
    lab = restoration_lab(start=1)
    right, wrong = lab.frame("cat", "σ = 15", "told 15"), lab.frame("cat", "σ = 15", "told 50")
    assert torch.allclose(right.restored, right.clean, atol=1e-6) and torch.allclose(wrong.restored, wrong.clean - 35 / 255, atol=1e-6)
    assert right is lab.frame("cat", "σ = 15", "told 15") and right.degraded_psnr == pytest.approx(20 * math.log10(17), abs=0.01)
    assert all(words in wrong.alt for words in ("cat, true σ = 15, told told 50", "left the degraded photo, 24.6", "middle the restored"))
    assert lab.view is lab.view and alt_of(lab) == wrong.alt
    lab.chosen.value, lab.position.value, lab.photo.value = "σ = 50", 2, "moon"
    assert alt_of(lab) == lab.frame("moon", "σ = 50", "told 75").alt


def test_the_page_of_restorations_shows_the_first_photo():
    lab = restoration_lab(start=1)
    content = frames(lab.page())
    assert list(content) == ["σ = 15", "σ = 50"]
    for name, row in content.items():
        assert [shown["alt"] for shown in row] == [lab.frame("cat", name, f"told {t}", 24).alt for t in (15, 50, 75)]
    page = Page(lab.page())
    assert page.labels == ["told", "true"] and page.options == ["σ = 15", "σ = 50"]
    [(slider, _)] = page.all("input")
    assert (slider["min"], slider["max"], slider["value"], slider["aria-valuetext"]) == ("0", "2", "1", "told 50")


def test_restorations_that_make_no_lab():
    for choices, message in (((), "one to three rows"), (("σ = 15", "σ = 25", "σ = 35", "σ = 50"), "one to three rows")):
        with pytest.raises(ValueError, match=message):
            restoration_lab(choices)
    with pytest.raises(ValueError, match="start = 3"):
        restoration_lab(start=3)
    with pytest.raises(ValueError, match="at least one photo"):
        restoration_lab(photos={})
    many = {"": {str(n): (lambda clean: 1 / 0, lambda clean: clean) for n in range(41)}}
    with pytest.raises(ValueError, match="41 frames"):  # before they are computed
        widgets.restoration_lab(many, {"cat": photo(seed=1)}, slider="", choice="").page()


# --- figures --------------------------------------------------------------------------------------------------------------


def figure_lab(rows=("one", "two"), positions=("a", "b", "c"), calls=None, **options):
    """A lab of figures that show where one is; ``calls`` collects what is drawn."""

    def draw(row, position):
        def drawn():
            if calls is not None:
                calls.append((row, position))
            figure, axis = plots.figure(3, 2)
            axis.plot([0, positions.index(position) + 1], [0, ord(row[0]) if row else 1])
            return widgets.Drawing(figure, f"{row} at {position} < 1", f"A line for {row} at {position}.")

        return drawn

    drawings = {row: {position: draw(row, position) for position in positions} for row in rows}
    return widgets.figure_lab(drawings, slider="place", choice="row", **options)


def test_figures_along_a_slider():
    calls = []
    lab = figure_lab(calls=calls, start=1)
    assert calls == []
    shown = lab.view
    assert calls == [("one", "b")] and "one at b &lt; 1" in lab.picture.value and 'alt="A line for one at b."' in lab.picture.value
    assert [child.description for child in shown.children[0].children] == ["row", "place"]
    lab.chosen.value, lab.position.value = "two", 2
    assert calls[-1] == ("two", "c") and "two at c" in lab.picture.value
    lab.position.value = 1
    lab.position.value = 2
    assert len(calls) == len(set(calls)), "each is drawn once"


def test_figures_on_the_page():
    lab = figure_lab(start=1)
    text = lab.page()
    page = Page(text)
    assert page.options == ["one", "two"] and page.labels == ["place", "row"]
    [(slider, _)] = page.all("input")
    assert (slider["min"], slider["max"], slider["value"], slider["aria-valuetext"]) == ("0", "2", "1", "b")
    found = frames(text)
    assert {row: [frame["position"] for frame in many] for row, many in found.items()} == dict.fromkeys(("one", "two"), ["a", "b", "c"])
    assert found["two"][0]["caption"] == "<span>two at a &lt; 1</span>" and found["two"][0]["alt"] == "A line for two at a."
    pictures = {frame["image"] for many in found.values() for frame in many}
    assert len(pictures) == 6
    for picture in pictures:
        assert Image.open(io.BytesIO(base64.b64decode(picture))).size == (270, 180)
    bundle = lab._repr_mimebundle_()
    assert bundle["text/plain"] == "A line for one at b." and "application/vnd.jupyter.widget-view+json" in bundle


def test_one_row_needs_no_choice():
    lab = figure_lab(rows=("",))
    page = Page(lab.page())
    assert page.all("select") == page.all("option") == [] and page.labels == ["place"]
    assert [child.description for child in lab.view.children[0].children] == ["place"]
    lab.position.value = 2
    assert " at c" in lab.picture.value


def test_a_figure_that_cannot_be_drawn_says_so():
    lab = widgets.figure_lab({"": {"a": lambda: 1 / 0}}, slider="place")
    with pytest.raises(ZeroDivisionError):
        _ = lab.view
    assert "could not be computed" in lab.picture.value and "division" in lab.picture.value


@pytest.mark.parametrize(
    ("rows", "start", "message"),
    [((), 0, "one to three rows"), (("a", "b", "c", "d"), 0, "one to three rows"), (("a",), 3, "start = 3"), (("a",), -1, "start = -1")],
)
def test_figures_that_make_no_lab(rows, start, message):
    with pytest.raises(ValueError, match=message):
        figure_lab(rows=rows, start=start)
    with pytest.raises(ValueError, match="same positions"):
        widgets.figure_lab({"a": {"x": None}, "b": {"y": None}}, slider="")
