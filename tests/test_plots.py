"""Every figure carries its alternative text, shows the pixels that it was given, is small, and leaves pyplot alone."""

import inspect
import io
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from course_lib import batches, data, noise, plots, training, widgets
from course_lib.denoising import dncnn, evaluation, tables
from course_lib.metric_learning import figures

LARGEST = 66_000  # bytes: "about 60 kB" a figure
AWKWARD = """σ < 25 & "quoted" > it's <b>bold</b> </script> alt="""


@pytest.fixture(scope="module")
def photos():
    held_out = data.load("photos", "test")
    return {name: batches.square(image, 256) for name, image in zip(held_out.names, held_out.images, strict=True)}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are shown, as matplotlib has them."""
    figures, show = [], plots.show
    monkeypatch.setattr(plots, "show", lambda figure, *rest, **how: figures.append(figure) or show(figure, *rest, **how))
    return figures


class Tags(HTMLParser):
    """All tags of a piece of HTML, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def decoded(shown) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(shown.content)).convert("RGB"))


def flat(value, channels=1):
    """An image of one value."""
    return torch.full((channels, 64, 64), float(value))


# --- the alternative text -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_a_figure_without_alternative_text_is_refused(alt):
    figure, _ = plots.figure(2, 2)
    with pytest.raises(ValueError, match="alternative text"):
        plots.show(figure, alt)


FIGURES = {
    "photographs": lambda alt: plots.photographs({"a": flat(0.5)}, alt),
    "curves": lambda alt: plots.curves([1, 2], {"a": [1, 2]}, "x", "y", alt),
    "history": lambda alt: plots.history(training.History([1, 2], {"psnr": [20.0, 21.0]}), "psnr", "dB", alt),
}


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_the_alternative_text_is_in_the_page(make):
    bundle = make(AWKWARD)._repr_mimebundle_()
    assert bundle["text/plain"] == AWKWARD
    [(tag, attributes)] = Tags(bundle["text/html"]).found  # one tag: nothing of the text has become one
    assert tag == "img" and attributes["alt"] == AWKWARD
    assert attributes["src"].startswith("data:image/webp;base64,") and int(attributes["width"]) > 100


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_pyplot_knows_nothing_of_it(make):
    figures, style = plt.get_fignums(), dict(matplotlib.rcParams)
    make("alt")
    assert plt.get_fignums() == figures and dict(matplotlib.rcParams) == style


# --- photographs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (0.25, 64), (0.5, 128), (1, 255), (1.7, 255), (-0.3, 0)])
def test_photographs_keep_their_values(value, expected):
    """No panel is stretched to its own range, and what is outside [0, 1] is clamped."""
    shown = decoded(plots.photographs({"a": flat(value), "b": flat(1 - value)}, "alt"))
    height, width = shown.shape[:2]
    assert abs(int(shown[height // 2, width // 4, 0]) - expected) <= 3


def test_photographs_in_colour():
    orange = torch.tensor([0.9, 0.5, 0.1]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    shown = decoded(plots.photographs({"a": orange}, "alt"))
    assert np.abs(shown[shown.shape[0] // 2, shown.shape[1] // 2].astype(int) - [230, 128, 26]).max() <= 8


def test_photographs_in_rows(drawn):
    plots.photographs({name: flat(0.5) for name in "abc"}, "alt", columns=2)
    axes = drawn[0].axes
    assert [axis.get_title() for axis in axes] == ["a", "b", "c", ""]
    assert [len(axis.images) for axis in axes] == [1, 1, 1, 0]
    assert not any(axis.axison for axis in axes)
    assert axes[2].get_position().y0 < axes[0].get_position().y0 and axes[2].get_position().x0 < axes[1].get_position().x0


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 5, 7), (1, 3, 5, 7)])
def test_pixels(shape):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2
    array = plots.pixels(image)
    planes = np.moveaxis(np.rint(np.clip(image.numpy().reshape(-1, 5, 7), 0, 1) * 255), 0, -1)
    assert array.dtype == np.uint8 and np.array_equal(array, planes[..., 0] if planes.shape[2] == 1 else planes)


def panels(photos, kind):
    """Four panels as chapters show them."""
    if kind == "clean":
        return {name: batches.to_float(photo) for name, photo in photos.items()}
    clean = batches.to_float(photos["camera"])[None]
    if kind == "noisy":
        return {f"σ = {s}": evaluation.test_noise(clean, noise.from_255(s)) for s in (0, 10, 25, 50)}
    noisy = evaluation.test_noise(clean, noise.from_255(25))
    blurred = torch.nn.functional.avg_pool2d(noisy, 3, 1, 1)
    return {"clean": clean, "noisy": noisy, "denoised": blurred, "error": widgets.error_picture(blurred, clean)}


@pytest.mark.parametrize("kind", ["clean", "denoised", "noisy"])
def test_figures_of_four_photos_are_small(photos, kind):
    assert len(plots.photographs(panels(photos, kind), "alt").content) <= LARGEST


# --- lines ----------------------------------------------------------------------------------------------------------------


def test_curves(drawn):
    lines = {f"line {i}": [i, i + 1.5, i - 1] for i in range(6)}
    shown = plots.curves([1, 2, 4], lines, "σ", "PSNR (dB)", "alt", mark=2)
    [axis] = drawn[0].axes
    *curves, mark = axis.lines
    assert {line.get_label(): list(line.get_ydata()) for line in curves} == lines
    assert all(list(line.get_xdata()) == [1, 2, 4] for line in curves) and set(mark.get_xdata()) == {2}
    assert len({line.get_color() for line in curves}) == len({line.get_marker() for line in curves}) == 6
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("σ", "PSNR (dB)")
    assert [text.get_text() for text in axis.get_legend().get_texts()] == list(lines)
    assert len(shown.content) <= LARGEST


def test_bands_of_curves(drawn):
    plots.curves([1, 2, 4], {"a": [5, 6, 8], "b": [1, 1, 1]}, "x", "y", "An alternative text.", halves={"a": [1, 0.5, 2]})
    [axis] = drawn[0].axes
    [band] = axis.collections
    corners = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
    assert {(1, 4), (1, 6), (2, 5.5), (2, 6.5), (4, 6), (4, 10)} <= corners
    assert tuple(band.get_facecolor()[0][:3]) == matplotlib.colors.to_rgb(axis.lines[0].get_color())


def test_there_is_no_half_a_layer(drawn):
    plots.curves(range(21), {"a": list(range(21))}, "layers", "y", "An alternative text.")
    plots.curves([0.0, 0.5, 2.0], {"a": [1, 2, 3]}, "x", "y", "An alternative text.")
    whole, others = ([tick % 1 for tick in figure.axes[0].get_xticks()] for figure in drawn[-2:])
    assert not any(whole) and any(others)


def test_line_drawings_are_coded_without_loss_and_photographs_with():
    line, photo = FIGURES["curves"]("alt").content, FIGURES["photographs"]("alt").content
    assert b"VP8L" in line[:64] and b"VP8L" not in photo[:64]


def test_many_curves_are_all_drawn(drawn):
    plots.curves([1, 2], {str(i): [i, i] for i in range(13)}, "x", "y", "alt")
    curves = drawn[0].axes[0].lines
    assert len({(line.get_color(), line.get_marker(), line.get_linestyle()) for line in curves}) == len(curves) == 13
    assert len({(line.get_color(), line.get_marker()) for line in curves[:8]}) == 8  # as many as chapter 17 sets side by side
    assert drawn[0].axes[0].get_legend().get_window_extent().x0 > drawn[0].axes[0].get_window_extent().x1, "no line runs through a name"


def test_curves_that_belong_together(drawn):
    plots.curves([1, 2], {"a": [1, 2], "b": [2, 3], "c": [3, 4]}, "x", "y", "alt", dashes={"a": "--", "c": "-."})
    assert [line.get_linestyle() for line in drawn[0].axes[0].lines] == ["--", "-", "-."]


def test_legends_are_in_the_style_of_the_book(drawn):
    plots.curves([1, 2], {"a": [1, 2]}, "x", "y", "alt")
    assert drawn[0].axes[0].get_legend().get_frame_on() == plots.STYLE["legend.frameon"]


@pytest.mark.parametrize("run", [training.History([50, 100, 120], {"psnr": [20.0, 25.0, 26.0], "loss": [3, 2, 1]}),
                                 training.History()], ids=["a run", "no steps"])  # fmt: skip
def test_history(drawn, run):
    shown = plots.history(run, "psnr", "PSNR (dB)", "alt")
    [axis] = drawn[0].axes
    assert (list(axis.lines[0].get_xdata()), list(axis.lines[0].get_ydata())) == (run.steps, run.values.get("psnr", []))
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("step", "PSNR (dB)")
    assert decoded(shown).shape[1] > 400


# --- tables and sources ---------------------------------------------------------------------------------------------------


def test_table():
    shown = plots.table(["method", "dB"], [["DnCNN", 29.23], ["BM3D", "28.57"]])
    assert shown.data.splitlines() == ["| method | dB |", "| --- | --- |", "| DnCNN | 29.23 |", "| BM3D | 28.57 |"]


def test_table_of_comparisons():
    record = {"title": "toy", "short": True, "about": {"recipe": "toy", "preset": "paper"}, "metrics": {"set12": {"psnr": 30.0}},
              "paper": {"set12": {"psnr": {"value": 30.436, "protocol": "quantised"}}}}  # fmt: skip
    others = [{**record, "title": "full", "short": False}, {**record, "about": {"recipe": "toy", "preset": "laptop"}}]
    rows = tables.comparisons([record, *others]).data.splitlines()[2:]
    assert rows == ["| toy | set12 | psnr | 30.44 | 30.00 | -0.44 | short run |",
                    "| full | set12 | psnr | 30.44 | 30.00 | -0.44 | full |",
                    "| toy | set12 | psnr | 30.44 | 30.00 | -0.44 | preset laptop |"]  # fmt: skip


@pytest.mark.parametrize("what", [dncnn.DnCNN, dncnn.loss])
def test_source_is_that_of_the_library(what):
    shown = plots.source(what)
    assert shown.data == inspect.getsource(what) and shown.language == "python"
    assert f"{what.__name__}(" in shown.data.splitlines()[0]
    assert "highlight" in shown._repr_html_()


def test_encoded_pictures_have_the_size_of_their_pixels():
    content = plots.encoded(np.arange(48, dtype=np.uint8).reshape(6, 8), 80)
    picture = Image.open(io.BytesIO(content))
    assert (picture.format, picture.size) == ("WEBP", (8, 6))


def test_a_picture_tag():
    tag = plots.img_tag(b"\x00\xff", AWKWARD, "image/png", 'width="3"')
    assert Tags(tag).found == [("img", {"src": "data:image/png;base64,AP8=", "alt": AWKWARD, "width": "3"})]
    assert plots.Shown(b"", "alt", 7)._repr_mimebundle_(include=None, exclude=SimpleNamespace())["text/plain"] == "alt"


@pytest.mark.parametrize(("count", "columns", "said"), [(1, None, None), (3, None, "3"), (4, 2, "2")])
def test_photographs_say_how_many_stand_side_by_side(count, columns, said):
    """By which the site keeps each of them large on a phone."""
    shown = plots.photographs({str(i): flat(0.5) for i in range(count)}, "alt", columns=columns)
    [(_, attributes)] = Tags(shown._repr_mimebundle_()["text/html"]).found
    found = re.search(r"--panels:(\d+)", attributes["style"])
    assert (found and found[1]) == said and "max-width:100%" in attributes["style"]
    drawing = plots.history(SimpleNamespace(steps=[], values={}), "loss", "loss", "alt")
    assert "--panels" not in drawing._repr_mimebundle_()["text/html"]


def test_logarithmic_curves(drawn):
    plots.curves([256, 512, 2048], {"a": [1, 4, 64]}, "x", "y", "alt", logarithmic=True)
    [axis] = drawn[0].axes
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
    assert [label.get_text() for label in axis.get_xticklabels()] == ["256", "512", "2048"]


def test_no_photographs():
    with pytest.raises(ValueError, match="no images"):
        plots.photographs({}, "alt")


# --- identities -----------------------------------------------------------------------------------------------------------


def test_tiles_lie_where_their_positions_are(drawn):
    """Sixteen shades at jittered places of a 4×4 grid: each must be found in its own cell."""
    shades = torch.linspace(0.05, 0.95, 16)
    corners = np.array([(x, y) for x in range(4) for y in range(4)], float)
    jitter = np.random.default_rng(0).uniform(-0.2, 0.2, corners.shape)
    order = np.random.default_rng(1).permutation(16)
    images = [torch.full((1, 5, 5), shades[i].item()) for i in order]
    plots.tiles(images, (corners + jitter)[order], "Sixteen shades of gray on a square map.", side=4)
    shown = np.asarray(drawn[0].axes[0].images[0].get_array())
    assert shown.shape == (20, 20)
    for i, (x, y) in enumerate(corners.astype(int)):
        row = 3 - y  # y points upwards
        assert np.abs(shown[5 * row : 5 * row + 5, 5 * x : 5 * x + 5] / 255 - shades[i].item()).max() < 0.01


@pytest.mark.parametrize(("count", "shape"), [(3, (3, 2)), (4, (3, 2)), (4, (4, 3))])
def test_tiles_without_enough_images_or_positions(count, shape):
    with pytest.raises(ValueError, match="4 cells need as many images"):
        plots.tiles([flat(0.5)] * count, np.zeros(shape), "A map.", side=2)


def test_a_grid_frames_what_is_asked_for():
    drawn = plots.grid([[(flat(0.2), "a", False), (flat(0.8), "b", True)], [(flat(0.5), "c", False)]], ["first", "second"])
    axes = drawn.axes
    assert [axis.get_title() for axis in axes] == ["a", "b", "c", ""]
    assert [axis.get_ylabel() for axis in axes] == ["first", "", "second", ""]
    assert [axis.spines["left"].get_visible() for axis in axes] == [False, True, False, False]
    assert np.asarray(axes[1].images[0].get_array()).max() == 204 and not axes[3].images


def test_distributions_count_every_pair():
    distance, same = torch.tensor([0.1, 0.2, 0.9, 1.5, 9.0]), torch.tensor([True, True, False, False, False])
    drawn = figures.distributions({"one": (distance, same), "two": (distance, same)}, gamma=0.5, most=2.0)
    for axis in drawn.axes:
        areas = [sum(bar.get_height() * bar.get_width() for bar in container) for container in axis.containers]
        assert areas == pytest.approx([1, 1]), "what is farther than the axis counts in its last bar"
        assert axis.get_xlim()[1] < 2.3 and axis.lines[0].get_xdata()[0] == 0.5
    assert [axis.get_title() for axis in drawn.axes] == ["one", "two"]


def test_a_mosaic_shows_every_pixel_as_it_is():
    rows = [list(row) for row in torch.rand(2, 3, 3, 8, 9, generator=torch.Generator().manual_seed(0))]
    shown = plots.rendered(plots.mosaic(rows, gap=2))
    assert shown.shape == (2 * 12, 3 * 13, 3)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            found = shown[12 * i + 2 : 12 * i + 10, 13 * j + 2 : 13 * j + 11]
            assert (found == plots.pixels(image)).all()
    assert (shown[:2] == 255).all()
    for wrong in ([], [[]], [rows[0], rows[1][:2]]):
        with pytest.raises(ValueError, match="give rows of as many images"):
            plots.mosaic(wrong)
