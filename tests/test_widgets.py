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

from course_lib import batches, noise, plots, widgets
from course_lib.widgets import lab as lab_module
from course_lib.widgets.pictures import Pictures, without_loss

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


def content(page):
    """What the script element holds, ended where a browser ends it."""
    [text] = re.findall(r'<script type="application/json">(.*?)</script', page, re.DOTALL | re.IGNORECASE)
    return json.loads(text)


def frames(page):
    """Choice -> what is said of each frame."""
    return content(page)["rows"]


def decoded(page, number):
    """A picture of the page, uint8 ``(H, W)`` or ``(H, W, 3)``: WebP knows no gray, so a picture of three equal channels is gray."""
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(content(page)["pictures"][number]))).convert("RGB"))
    return pixels[..., 0] if (pixels == pixels[..., :1]).all() else pixels


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
    assert torch.equal(frame.clean, (batches.center(picture, 24).float() / 255)[None])
    assert abs((frame.degraded - frame.clean).std().item() * 255 - 25) < 2
    assert torch.allclose(frame.restored, Blur()(frame.degraded, 0), atol=1e-6)
    assert frame.degraded_psnr == pytest.approx(psnr(frame.degraded, frame.clean), abs=1e-2)
    assert frame.restored_psnr == pytest.approx(psnr(frame.restored, frame.clean), abs=0.03)
    before, after = (f"{value:.2f} dB" for value in (frame.degraded_psnr, frame.restored_psnr))
    assert all(words in frame.alt for words in ("cat", "σ = 25", "blur", f"noisy photo, {before}", f"blur, {after}"))
    assert f"noisy, {before}" in frame.caption() and f"denoised, {after}" in frame.caption()


def test_the_three_parts_of_the_picture():
    frame = make().frame("blur", "cat", 25)
    shown = np.asarray(Image.open(io.BytesIO(frame.picture())).convert("L")).astype(int)
    assert shown.shape == (24, 3 * 24 + 2 * 4)
    degraded, restored, error = (shown[:, left : left + 24] for left in (0, 28, 56))
    clean = np.rint(frame.clean[0, 0].double().numpy() * 255)
    assert np.abs(degraded - frame.degraded[0, 0].clamp(0, 1).numpy() * 255).max() < 0.501
    assert np.abs(restored - frame.restored[0, 0].clamp(0, 1).numpy() * 255).max() < 0.501
    assert (error == (128 + 4 * (restored - clean)).clip(0, 255)).all()


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
    moon = lab.frame("blur", "moon", 15)
    assert torch.allclose((moon.degraded - moon.clean) / 15, patterns[0], atol=1e-6), "the page carries one pattern"
    other = make(seed=1).frame("blur", "cat", 15)
    assert not torch.allclose((other.degraded - other.clean) / 15, patterns[0], atol=1e-3)


def test_the_denoiser_gets_the_noise_unclipped_but_nobody_can_see_it_so():
    frame = make().frame("blur", "cat", 50)
    raw = -10 * math.log10(((frame.degraded - frame.clean) ** 2).mean().item())
    assert frame.degraded.min() < 0 and frame.degraded.max() > 1 and raw == pytest.approx(20 * math.log10(255 / 50), abs=0.5)
    assert raw < frame.degraded_psnr - 0.1 and frame.degraded_psnr == pytest.approx(psnr(frame.degraded, frame.clean), abs=1e-2)


def test_without_noise_the_noisy_photo_is_exact():
    frame = make().frame("blur", "cat", 0)
    assert torch.equal(frame.degraded, frame.clean) and frame.degraded_psnr == math.inf
    assert "noisy, exact" in frame.caption() and "inf" not in frame.alt + frame.caption()
    assert make({"none": lambda noisy, sigma: noisy}).frame("none", "cat", 0).caption().count("exact") == 2


def test_the_denoiser_is_called_once_a_position(monkeypatch):
    monkeypatch.setenv("COURSE_PRECISION", "bf16-mixed")  # a frame is an evaluation, and these are float32
    blur = Blur()
    lab = make({"blur": blur})
    for _ in range(2):
        for sigma in (0, 25):
            lab.frame("blur", "cat", sigma)
        lab.page()
    assert blur.calls[:2] == [((1, 1, 24, 24), s / 255, False) for s in (0, 25)]
    assert len(blur.calls) == 6, "page and JupyterLab show the same frames"


@pytest.mark.parametrize(
    ("restored", "message"),
    [
        (lambda noisy: noisy * math.nan, r"the denoised photo is not finite in 100.0% of its pixels"),
        (lambda noisy: noisy / 0, "the denoised photo is not finite"),
        (lambda noisy: noisy[..., 1:], r"the denoised photo has shape \(1, 1, 24, 23\), but the clean one has \(1, 1, 24, 24\)"),
    ],
)
def test_what_is_no_picture_is_refused(restored, message):
    """NaN was once captioned "exact"."""
    with pytest.raises(ValueError, match=message):
        make({"broken": lambda noisy, sigma: restored(noisy)}).frame("broken", "cat", 25)
    with pytest.raises(ValueError, match="the degraded photo is not finite"):
        degraded(degradations={"gap": {"all": lambda clean: clean * math.nan}}).frame("nothing", "cat", "gap", "all")


# --- one pattern of noise ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigma", [0, 2.5, 25, 75, 255])
def test_gaussian_noise_against_a_naive_loop(channels, sigma):
    """What is shown, pixel by pixel, from the draw that has the name of test noise."""
    picture = photo(channels, 20, 24)
    clean = batches.to_float(picture)[None]
    made = widgets.GaussianNoise(sigma, seed=3)
    noisy, levels = made(clean), made.levels(plots.pixels(clean).shape)
    draw = noise.test_noise(torch.zeros_like(clean), 1.0, seed=3)
    shown = np.atleast_3d(made.shown(plots.pixels(clean)))
    for c in range(channels):
        for y in range(20):
            for x in range(24):
                steps = round(draw[0, c, y, x].item() * 16)
                assert np.atleast_3d(levels)[y, x, c] == 128 + steps
                assert noisy[0, c, y, x].item() == pytest.approx(picture[c, y, x].item() / 255 + sigma / 255 * steps / 16, abs=1e-6)
                assert shown[y, x, c] == min(max(round(picture[c, y, x].item() + sigma * steps / 16), 0), 255)


def test_the_pattern_is_standard_normal_and_never_clipped():
    pattern = (widgets.GaussianNoise(1).levels((512, 512, 3)).astype(float) - 128) / 16
    assert abs(pattern.mean()) < 0.005 and abs(pattern.std() - 1) < 0.005
    assert np.abs(pattern).max() > 4.5, "the tails are there"


@pytest.mark.parametrize("sigma", [-1, 256, math.nan, math.inf])
def test_noise_that_makes_no_sense(sigma):
    with pytest.raises(ValueError, match=r"must lie in \[0, 255\]"):
        widgets.GaussianNoise(sigma)


# --- the static page ------------------------------------------------------------------------------------------------------


def test_every_position_of_the_page_has_pictures_text_and_caption():
    lab = make(photos={name: photo(3, seed=i) for i, name in enumerate("abc")})
    text = lab.page()
    assert list(frames(text)) == ["a", "b"], "two photos at most"
    for name, sigma, said in [(n, s, f) for n in "ab" for s, f in zip((0, 25, 50), frames(text)[n], strict=True)]:
        frame = lab.frame("blur", name, sigma)
        noisy, restored, clean = frame.shown
        assert said["position"] == f"σ = {sigma}" and said["sigma"] == sigma
        assert said["alt"] == frame.alt and f"{name} with noise of σ = {sigma}:" in frame.alt
        assert said["caption"] == frame.caption()
        assert (decoded(text, said["clean"]) == clean).all() and (decoded(text, said["restored"]) == restored).all()
        pattern = decoded(text, said["pattern"]).astype(float)
        assert (np.rint(clean + sigma * (pattern - content(text)["zero"]) / content(text)["steps"]).clip(0, 255) == noisy).all()
    assert len(content(text)["pictures"]) == 2 * (1 + 3) + 1, "each clean and each restored photo once, and one pattern"
    for number, total in enumerate(content(text)["sums"]):
        assert np.broadcast_to(np.atleast_3d(decoded(text, number)), (24, 24, 3)).sum(dtype=int) == total


def test_where_no_script_runs_there_is_the_start_and_no_control():
    lab = make()
    page = Page(lab.page())
    [(image, around)] = page.all("img")
    frame = lab.frame("blur", "cat", 25)
    assert image["alt"] == frame.alt and image["src"] == f"data:image/webp;base64,{base64.b64encode(frame.picture()).decode()}"
    assert page.all("input", "select", "output", "label", "button") == [] and around == ("div", "div")
    assert frame.caption() in lab.page() and "Run this cell" in lab.page()
    assert ">noise: σ = 25, photo cat, by blur</div>" in lab.page(), "on paper nothing else says where the slider is"
    told = content(lab.page())
    assert (told["slider"], told["choice"], told["by"], told["start"]) == ("noise", "photo", "blur", 1)


@pytest.mark.parametrize("name", ["</script>", "</SCRIPT ", "<b>&amp;\"'", "<!--<script>"])
def test_names_cannot_break_the_page(name):
    """After ``<!--<script`` a browser would take the next ``</script>`` for text."""
    lab = make({name: Blur()}, photos={name: photo(), "other": photo()})
    text = lab.page()
    assert "<!--" not in text
    page = Page(text)
    assert len(page.all("script")) == 1 and list(frames(text)) == [name, "other"] and page.all("b") == []
    assert f"{name} with noise" in frames(text)[name][1]["alt"]


def test_at_most_40_frames():
    photos = {name: photo(height=8, width=8) for name in "ab"}
    with pytest.raises(ValueError, match=r"42 frames, but at most 40: give fewer σ"):
        make(photos=photos, sigmas_255=range(21), page_sigmas_255=range(21), start=3).page()
    page = make(photos=photos, sigmas_255=range(20), page_sigmas_255=range(20), start=3, page_size=8).page()
    assert [len(row) for row in frames(page).values()] == [20, 20]


def test_pictures_beyond_the_budget_are_refused_and_never_coded_with_loss():
    lab = make(photos={"cat": photo(seed=1)})
    assert lab.static.most_bytes == widgets.LARGEST_BUDGET == 500_000
    text = lab.page()
    [(start, _)] = Page(text).all("img")
    size = sum(map(len, content(text)["pictures"])) + len(start["src"].removeprefix("data:image/webp;base64,"))
    assert make(photos={"cat": photo(seed=1)}, page_bytes=size).page() == text
    with pytest.raises(ValueError, match=f"the pictures take {size} bytes, but at most {size - 1}: give fewer, or smaller ones"):
        make(photos={"cat": photo(seed=1)}, page_bytes=size - 1).page()


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


def displayed(lab, monkeypatch):
    """What the lab puts out in a notebook."""
    found = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: found.append(bundle))
    lab._ipython_display_()
    return found


def test_two_faces(monkeypatch):
    """The page, whose picture hides while the view lives; and the view, without which there is nothing of the second output."""
    lab = make()
    assert lab.view is lab.view  # makes the controls
    lab.sigma.value = 50
    first, second = displayed(lab, monkeypatch)
    assert set(first) == {"text/html", "text/plain"} and first["text/html"].startswith(lab.page())
    assert first["text/plain"] == lab.frame("blur", "cat", 50).alt
    assert second["application/vnd.jupyter.widget-view+json"]["model_id"] == lab.view.model_id
    assert second["text/html"] == second["text/plain"] == ""
    [(element, _)] = [found for found in Page(lab.page()).all("div") if "id" in found[0]]
    assert lab.view.children[2].value == f"<style>#{element['id']} {{ display: none }}</style>"


def test_a_screen_reader_is_told_the_position_and_not_its_number():
    lab = make()
    assert "course-lab" in lab.view._dom_classes and ".course-lab" in lab_module.ONLY_IN_JUPYTERLAB
    for sigma in (25, 0):
        lab.sigma.value = sigma
        [(element, _)] = [found for found in Page(lab.picture.value).all("div") if "data-position" in found[0]]
        assert (element["data-slider"], element["data-position"]) == ("noise σ", f"σ = {sigma}")


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
    assert frame.degraded_psnr == pytest.approx(psnr(frame.degraded, frame.clean), abs=0.01)
    assert all(words in frame.alt for words in ("cat with noise, σ = 15", "left the degraded photo, 2", "output of darker"))
    jpeg = lab.frame("nothing", "moon", "JPEG", "quality 5")
    assert torch.equal(jpeg.degraded, noise.jpeg(jpeg.clean, 5)) and torch.equal(jpeg.restored, jpeg.degraded)


def test_the_page_of_degradations_shows_the_first_photo_by_the_first_restorer():
    lab = degraded(degradations={**DEGRADATIONS, "pattern": {f"σ = {s}": widgets.GaussianNoise(s) for s in (15, 50)}})
    text = lab.page()
    assert {name: [frame["position"] for frame in row] for name, row in frames(text).items()} == {
        "noise": ["σ = 15", "σ = 50"], "JPEG": ["quality 40", "quality 5"], "pattern": ["σ = 15", "σ = 50"]}  # fmt: skip
    for name, row in frames(text).items():
        for said in row:
            frame = lab.frame("darker", "cat", name, said["position"])
            assert (said["alt"], said["caption"]) == (frame.alt, frame.caption())
            assert ("pattern" in said, "degraded" in said) == (name == "pattern", name != "pattern")
            if name != "pattern":
                assert (decoded(text, said["degraded"]) == frame.shown[0]).all()
    told = content(text)
    assert (told["slider"], told["choice"], told["by"], told["start"]) == ("strength", "degradation", "darker", 0)


def test_the_controls_choose_degradation_and_strength():
    lab = degraded()
    assert lab.view is lab.view and alt_of(lab) == lab.frame("darker", "cat", "noise", "σ = 15").alt
    lab.strength.value = 1
    assert alt_of(lab) == lab.frame("darker", "cat", "noise", "σ = 50").alt
    lab.degradation.value = "JPEG"
    assert alt_of(lab) == lab.frame("darker", "cat", "JPEG", "quality 5").alt
    lab.photo.value, lab.restorer.value = "moon", "nothing"
    assert alt_of(lab) == lab.frame("nothing", "moon", "JPEG", "quality 5").alt


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
    assert right is lab.frame("cat", "σ = 15", "told 15") and right.degraded_psnr == wrong.degraded_psnr
    assert all(words in wrong.alt for words in ("cat, true σ = 15, told told 50", "left the degraded photo, 2", "middle the restored"))
    assert lab.view is lab.view and alt_of(lab) == wrong.alt
    lab.chosen.value, lab.position.value, lab.photo.value = "σ = 50", 2, "moon"
    assert alt_of(lab) == lab.frame("moon", "σ = 50", "told 75").alt


def test_the_page_of_restorations_shows_the_first_photo():
    lab = restoration_lab(start=1)
    text = lab.page()
    assert list(frames(text)) == ["σ = 15", "σ = 50"]
    for name, row in frames(text).items():
        assert [shown["alt"] for shown in row] == [lab.frame("cat", name, f"told {t}").alt for t in (15, 50, 75)]
        assert len({said["degraded"] for said in row}) == 1, "a picture that several frames share is carried once"
    told = content(text)
    assert (told["slider"], told["choice"], told["by"], told["start"]) == ("told", "true", "", 1)


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
    told, found = content(text), frames(text)
    assert (told["slider"], told["choice"], told["by"], told["start"]) == ("place", "row", "", 1)
    assert {row: [frame["position"] for frame in many] for row, many in found.items()} == dict.fromkeys(("one", "two"), ["a", "b", "c"])
    assert found["two"][0]["caption"] == "<span>two at a &lt; 1</span>" and found["two"][0]["alt"] == "A line for two at a."
    assert len(told["pictures"]) == len({frame["figure"] for many in found.values() for frame in many}) == 6
    for row, many in found.items():
        for said in many:
            assert (decoded(text, said["figure"]) == lab.frame(row, said["position"]).pixels).all(), "without loss"


def test_one_row_needs_no_choice():
    lab = figure_lab(rows=("",))
    assert list(frames(lab.page())) == [""]
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
    [
        ((), 0, "one to three rows"), (("a", "b", "c", "d"), 0, "one to three rows"),
        (("a",), 3, "start = 3"), (("a",), -1, "start = -1"), (("a",), 1.5, "start = 1.5"),
    ],
)
def test_figures_that_make_no_lab(rows, start, message):
    with pytest.raises(ValueError, match=message):
        figure_lab(rows=rows, start=start)
    with pytest.raises(ValueError, match="same positions"):
        widgets.figure_lab({"a": {"x": None}, "b": {"y": None}}, slider="")


# --- pictures of a page ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_pictures_are_kept_once_and_without_loss(shape):
    one, other = (torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(i)).numpy().astype(np.uint8) for i in (1, 2))
    kept = Pictures()
    assert [kept.add(one), kept.add(other), kept.add(one.copy())] == [0, 1, 0]
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(kept.coded[0]))).convert("RGB"))
    assert (decoded == (one if one.ndim == 3 else one[..., None])).all()
    assert kept.sums[0] == decoded.sum() and len(kept) == sum(map(len, kept.coded))
    assert len(without_loss(np.zeros(shape, np.uint8))) < len(without_loss(one))
