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

from course_lib import batches, data, training, widgets
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
    assert abs((frame.noisy - frame.clean).std().item() * 255 - 25) < 2
    assert torch.allclose(frame.denoised, Blur()(frame.noisy, 0), atol=1e-6)
    error = (frame.noisy - frame.clean).double().numpy()  # not clamped: the noise is not clipped
    assert frame.noisy_psnr == pytest.approx(-10 * math.log10((error**2).mean()), abs=1e-3)
    assert frame.denoised_psnr == pytest.approx(psnr(frame.denoised, frame.clean), abs=1e-3)
    before, after = (f"{value:.2f} dB" for value in (frame.noisy_psnr, frame.denoised_psnr))
    assert all(words in frame.alt for words in ("cat", "σ = 25", "blur", f"noisy photo, {before}", f"blur, {after}"))
    assert f"noisy, {before}" in frame.caption() and f"denoised, {after}" in frame.caption()


def test_the_three_parts_of_the_picture():
    frame = make().frame("blur", "cat", 25)
    shown = np.asarray(Image.open(io.BytesIO(frame.picture(quality=100))).convert("L")).astype(float)
    assert shown.shape == (40, 3 * 48 + 2 * 4)
    error = 0.5 + 4 * (frame.denoised - frame.clean)
    parts = {0: frame.noisy, 52: frame.denoised, 104: error}
    for left, part in parts.items():
        expected = (part[0, 0].clamp(0, 1) * 255).numpy()
        assert np.abs(shown[:, left : left + 48] - expected).mean() < 4


def test_the_same_noise_only_stronger():
    lab = make()
    patterns = [(f.noisy - f.clean) / s for s in (15, 50) for f in [lab.frame("blur", "cat", s)]]
    assert torch.allclose(*patterns, atol=1e-6)
    other = make(seed=1).frame("blur", "cat", 15)
    assert not torch.allclose((other.noisy - other.clean) / 15, patterns[0], atol=1e-3)


def test_without_noise_the_noisy_photo_is_exact():
    frame = make().frame("blur", "cat", 0)
    assert torch.equal(frame.noisy, frame.clean) and frame.noisy_psnr == math.inf
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
        values[precision] = [lab.frame("DnCNN", "coffee", s).denoised_psnr for s in (5, 15, 25, 50, 75)]
    assert used == [False] * 5 + [True] * 5
    assert values["32-true"] != values["bf16-mixed"] and np.allclose(*values.values(), atol=0.02, rtol=0)
    assert values["32-true"][2] > 23, "it was trained"


# --- the static page ------------------------------------------------------------------------------------------------------


def test_every_position_of_the_page_has_picture_text_and_caption():
    lab = make(photos={name: photo(3, seed=i) for i, name in enumerate("abc")})
    content = frames(lab.page())
    assert content["sigmas"] == ["0", "25", "50"]
    assert list(content["frames"]) == [f"{name}/{s}" for name in "ab" for s in (0, 25, 50)], "two photos at most"
    for position, shown in content["frames"].items():
        name, sigma = position.split("/")
        frame = lab.frame("blur", name, int(sigma), 24)
        assert shown["alt"] == frame.alt and f"{name} with noise of σ = {sigma}:" in frame.alt
        assert shown["caption"] == frame.caption()
        assert base64.b64decode(shown["image"]) == frame.picture(widgets.PAGE_QUALITIES[0])
        assert Image.open(io.BytesIO(base64.b64decode(shown["image"]))).size == (3 * 24 + 8, 24)


def test_without_javascript_the_page_shows_the_start_and_no_controls():
    lab = make()
    page = Page(lab.page())
    [(image, around)] = page.all("img")
    start = frames(lab.page())["frames"]["cat/25"]
    assert image["alt"] == start["alt"] and image["src"] == f"data:image/webp;base64,{start['image']}"
    [controls] = [attributes for attributes, _ in page.all("div") if attributes["class"] == "noise-lab-controls"]
    assert "hidden" in controls and around == ("div",), "the picture is not inside of what is hidden"
    assert start["caption"] in lab.page()


def test_controls_are_labelled():
    page = Page(make().page())
    assert [around[-1] for _, around in page.all("input", "select")] == ["label", "label"]
    assert page.labels == ["noise σ", "photo"] and page.options == ["cat", "moon"]
    [(slider, _)] = page.all("input")
    assert (slider["type"], slider["min"], slider["max"], slider["step"], slider["value"]) == ("range", "0", "2", "1", "1")
    assert slider["aria-valuetext"] == "σ = 25"
    assert any(attributes.get("aria-live") for attributes, _ in page.all("div"))


@pytest.mark.parametrize("name", ["</script>", "</SCRIPT ", "<b>&amp;\"'", "<!--<script>"])
def test_names_cannot_break_the_page(name):
    """After ``<!--<script`` a browser would take the next ``</script>`` for text."""
    lab = make({name: Blur()}, photos={name: photo()})
    text = lab.page()
    assert "<!--" not in text
    page = Page(text)
    assert len(page.all("script")) == 1 and page.options == [name] and page.all("b") == []
    assert f"{name} with noise" in frames(text)["frames"][f"{name}/25"]["alt"]


def test_at_most_40_frames():
    photos = {name: photo(height=8, width=8) for name in "ab"}
    with pytest.raises(ValueError, match=r"42 frames, but at most 40: give fewer σ"):
        make(photos=photos, sigmas_255=range(21), page_sigmas_255=range(21), start=3).page()
    page = make(photos=photos, sigmas_255=range(20), page_sigmas_255=range(20), start=3, page_size=8).page()
    assert len(frames(page)["frames"]) == 40


def test_the_page_takes_the_best_coding_that_300_kilobytes_have_room_for(monkeypatch):
    assert widgets.LARGEST_BUDGET == 300_000
    lab = make(photos={"cat": photo(seed=1)})
    shown = [lab.frame("blur", "cat", sigma, 24) for sigma in (0, 25, 50)]
    for quality in widgets.PAGE_QUALITIES:
        images = [base64.b64encode(frame.picture(quality)).decode() for frame in shown]
        size = sum(map(len, images))
        monkeypatch.setattr(widgets, "LARGEST_BUDGET", size)
        assert [frame["image"] for frame in frames(lab.page())["frames"].values()] == images
    monkeypatch.setattr(widgets, "LARGEST_BUDGET", size - 1)
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
    assert bundle["text/plain"] == lab.frame("blur", "cat", 25).alt
