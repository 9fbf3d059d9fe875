"""Scenes of a sorting line: what is drawn is what the generator says, and folders of one's own are read or refused with a reason."""

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib import data
from course_lib.data import scenes, sorting

# --- drawn scenes ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn():
    return scenes.draw(60, seed=3)


def test_a_pair_is_two_scenes_of_which_one_has_something_illegal(drawn):
    assert drawn.images.shape == (120, 3, 64, 64) and drawn.images.dtype == torch.uint8
    assert drawn.labels.tolist() == [1] * 60 + [0] * 60
    assert drawn.illegal.shape == drawn.objects.shape == (120, 1, 64, 64)
    assert bool(drawn.illegal[:60].flatten(1).any(1).all()) and not bool(drawn.illegal[60:].any())
    assert not bool((drawn.illegal & ~drawn.objects).any())
    share = drawn.objects.float().mean((1, 2, 3))
    assert (share[:60].mean() - share[60:].mean()).abs() < 0.03, "the belt brings as much as is taken away"


def test_everything_lies_elsewhere_afterwards(drawn):
    """The objects before and after overlap no more than those of two different pairs."""

    def overlap(a, b):
        return ((a & b).sum() / (a | b).sum()).item()

    before, after = drawn.objects[:60], drawn.objects[60:]
    assert overlap(before, after) < overlap(before, after.roll(1, 0)) + 0.05


def test_at_least_ten_kinds_and_each_is_drawn():
    assert len(scenes.LAWFUL) + len(scenes.ILLEGAL) >= 10 and not set(scenes.LAWFUL) & set(scenes.ILLEGAL)
    axis = torch.linspace(-1.35, 1.35, 90)
    pictures = {}
    for name, kind in {**scenes.LAWFUL, **scenes.ILLEGAL}.items():
        distance, tone = kind(axis[None].expand(90, 90), axis[:, None].expand(90, 90))
        inside = distance < 0
        assert 0.05 < inside.float().mean() < 0.5, name
        assert not bool(inside[0].any() | inside[-1].any() | inside[:, 0].any() | inside[:, -1].any()), f"{name} leaves its window"
        assert tone.min() >= 0 and tone.max() <= 1
        pictures[name] = torch.where(inside, 1 + tone, 0)
    names = list(pictures)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert (pictures[a] - pictures[b]).abs().gt(0.3).float().mean() > 0.03, (a, b)


def test_an_object_keeps_within_its_window():
    assert 1.35 * scenes.RADIUS[1] <= scenes.REACH


@pytest.mark.parametrize("kinds", [scenes.LAWFUL, scenes.ILLEGAL])
def test_pixel_by_pixel_as_a_naive_loop_draws_them(kinds):
    """One object of each kind on an empty canvas against the definition, pixel for pixel."""
    first = 0 if kinds is scenes.LAWFUL else len(scenes.LAWFUL)
    numbers = torch.arange(first, first + len(kinds))[:, None]
    places = torch.tensor([[20.3, 31.8]]).expand(len(kinds), 1, 2)
    sprites = scenes._sprites(numbers, places, torch.Generator().manual_seed(1))
    side = 64 + 2 * scenes.REACH
    picture, seen = torch.zeros(len(kinds), 3, side, side), torch.zeros(len(kinds), side, side, dtype=torch.uint8)
    colors = torch.tensor([[[1.0, 0.5, 0.25]]]).expand(len(kinds), 1, 3)
    scenes._paint(picture, seen, numbers, colors, places, sprites)
    draws = torch.Generator().manual_seed(1)
    turns, sizes = 2 * np.pi * torch.rand(len(kinds), 1, generator=draws), torch.rand(len(kinds), 1, generator=draws)
    for n, kind in enumerate(kinds.values()):
        radius, turn = scenes.RADIUS[0] + (scenes.RADIUS[1] - scenes.RADIUS[0]) * sizes[n, 0].item(), turns[n, 0].item()
        for row in range(16, 46, 3):
            for column in range(8, 34, 3):
                x, y = (column + 0.5 - 20.3) / radius, (row + 0.5 - 31.8) / radius
                u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
                distance, tone = kind(torch.tensor(u), torch.tensor(v))
                alpha = float((0.5 - distance * radius).clamp(0, 1))
                expected = alpha * torch.tensor([1.0, 0.5, 0.25]) * (1 - 0.65 * tone.float())
                assert torch.allclose(picture[n, :, row + scenes.REACH, column + scenes.REACH], expected, atol=1e-3)
                assert int(seen[n, row + scenes.REACH, column + scenes.REACH]) == (0 if alpha <= 0.5 else 1 + (first > 0))


def test_seeds_and_splits(drawn):
    assert torch.equal(scenes.draw(60, seed=3).images, drawn.images)
    for other in (scenes.draw(60, seed=4), scenes.draw(60, "test", seed=3)):
        assert not torch.equal(other.illegal, drawn.illegal)


def warmth(images):
    """Red over blue, in the mean over all pixels."""
    red, _, blue = images.float().mean((0, 2, 3))
    return (red / blue).item()


def test_light_and_belt_change_and_objects_do_not(drawn):
    for light, belt in ((0.0, 0.0), (-1.0, -1.0), (-1.0, 1.0)):
        other = scenes.draw(60, seed=3, light=light, belt=belt)
        assert torch.equal(other.illegal, drawn.illegal) and torch.equal(other.objects, drawn.objects)
        assert not torch.equal(other.images, drawn.images)
    before, after = warmth(drawn.images[:60]), warmth(drawn.images[60:])
    assert before > after + 0.4
    swapped, same = (scenes.draw(60, seed=3, light=light, belt=light).images for light in (-1, 0))
    assert warmth(swapped[:60]) == pytest.approx(after, abs=0.1) and warmth(swapped[60:]) == pytest.approx(before, abs=0.1)
    assert warmth(same[:60]) == pytest.approx(warmth(same[60:]), abs=0.1)


def test_colour_does_not_tell_what_is_illegal():
    """In one light and on one belt the colours of lawful and illegal pixels have the same distribution but for their patterns."""
    found = scenes.draw(300, seed=1, light=0, belt=0)
    pixels = found.images[:300].permute(0, 2, 3, 1).float()
    illegal, lawful = found.illegal[:300, 0], (found.objects & ~found.illegal)[:300, 0]
    for channel in range(3):
        a, b = pixels[..., channel][illegal].mean(), pixels[..., channel][lawful].mean()
        assert (a - b).abs() < 35


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count = 0"),
        ({"count": 2, "split": "valid"}, 'split = "valid", but it must be one of train, test'),
        ({"count": 2, "size": 32}, "size = 32"),
        ({"count": 2, "light": 2}, "light = 2, but it must lie in -1 to 1"),
        ({"count": 2, "belt": float("nan")}, "belt = nan"),
    ],
)
def test_scenes_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        scenes.draw(**arguments)


def test_the_embedded_set_says_that_it_is_drawn():
    train, test = data.load("scenes", "train"), data.load("scenes", "test")
    for found, count in ((train, 500), (test, 100)):
        assert found.images.shape == (2 * count, 3, 64, 64) and found.labels.bincount().tolist() == [count, count]
        assert "drawn by" in found.source and found.classes == ("after", "before") and len(set(found.names)) == 2 * count
    assert train.masks is None and test.masks.shape == (200, 1, 64, 64) and test.masks.dtype == torch.bool


# --- folders of one's own -------------------------------------------------------------------------------------------------


def write(file, shape=(24, 30, 3), value=None):
    file.parent.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(len(str(file)))
    Image.fromarray(draws.integers(0, 256, shape, dtype=np.uint8) if value is None else np.full(shape, value, np.uint8)).save(file)


@pytest.fixture
def line(tmp_path):
    """A small data set in the layout of WS²."""
    root = tmp_path / "WS2"
    for part in ("training", "validation"):
        for number, label in enumerate(("before", "after", "bg")):
            for frame in range(2 + number):
                write(root / part / label / "video_001" / f"frame_{frame:04}.jpg")
    for label in ("before", "after"):
        for frame in range(2):
            write(root / "test_set" / "images" / label / "video_007" / f"frame_{frame:04}.jpg")
    for frame in range(2):
        mask = root / "test_set" / "masks" / "before" / "video_007" / f"frame_{frame:04}.png"
        write(mask, (24, 30), 0)
        array = np.zeros((24, 30), np.uint8)
        array[6:12, 10:20] = 255
        Image.fromarray(array).save(mask)
    return root


def test_folders_are_read(line):
    train = sorting.folders(line, "train", size=32)
    assert train.images.shape == (9, 3, 32, 32) and train.labels.tolist() == [0] * 3 + [1] * 2 + [2] * 4 and train.masks is None
    assert train.names[3] == "before/video_001/frame_0000" and "WS2, a folder of images" in train.source and "no hashes" in train.source
    assert len(sorting.folders(line, "validation", size=32)) == 9
    test = sorting.folders(line, "test", size=48)
    assert test.labels.tolist() == [0, 0, 1, 1] and test.masks.shape == (4, 1, 48, 48)
    assert not bool(test.masks[:2].any())
    assert test.masks[2].float().mean() == pytest.approx(60 / 720, abs=0.01)
    rows, columns = (test.masks[2, 0].any(axis).nonzero() for axis in (1, 0))
    assert (rows.min() / 48, columns.min() / 48) == (pytest.approx(6 / 24, abs=0.03), pytest.approx(10 / 30, abs=0.03))


def test_load_looks_in_the_data_root(line):
    found = data.load("ws2", "test", root=line.parent)
    assert found.images.shape == (4, 3, 512, 512) and found.name == "ws2"


def remove(*parts):
    def change(root):
        import shutil

        shutil.rmtree(root.joinpath(*parts))

    return change


def another_size(root):
    write(root / "test_set/masks/before/video_007/frame_0001.png", (24, 31), 0)


def damaged(root):
    (root / "training/after/video_001/frame_0001.jpg").write_bytes(b"\xff\xd8\xff cut")


def empty_background(root):
    for file in (root / "training" / "bg").rglob("*.jpg"):
        file.unlink()


def of_zeros_and_ones(root):
    array = np.zeros((24, 30), np.uint8)
    array[6:12, 10:20] = 1
    Image.fromarray(array).save(root / "test_set/masks/before/video_007/frame_0001.png")


def transparent(root):
    array = np.zeros((24, 30, 4), np.uint8)
    array[6:12, 10:20] = 255
    Image.fromarray(array).save(root / "test_set/masks/before/video_007/frame_0001.png")


FAULTS = {
    "a mask of 0 and 1": (of_zeros_and_ones, "test", r"frame_0001\.png has no white: its largest value is 1 of 255.*multiply"),
    "a transparent mask": (transparent, "test", r"frame_0001\.png is transparent, which counts as white"),
    "no part": (remove("training"), "train", r"training is missing: train images lie there in the layout"),
    "no before": (remove("training", "before"), "train", r"before has no images: a classifier of before and after needs both classes"),
    "no after": (remove("test_set", "images", "after"), "test", r"after has no images"),
    "an empty folder of backgrounds": (empty_background, "train", r"bg has no images"),
    "no masks": (remove("test_set", "masks"), "test", r"frame_0000\.png is missing: the mask of .*frame_0000\.jpg"),
    "one mask missing": (lambda r: (r / "test_set/masks/before/video_007/frame_0001.png").unlink(), "test", r"frame_0001\.png is missing"),
    "a mask of another size": (another_size, "test", r"frame_0001\.png is 31×24 pixels, but its image is 30×24: a mask has the size of"),
    "two masks": (lambda r: write(r / "test_set/masks/before/video_007/frame_0000.tif", (24, 30)), "test", r"are both the mask of"),
    "a mask too many": (lambda r: write(r / "test_set/masks/after/video_008/frame_0000.png", (24, 30)), "test", r"is a mask without"),
    "a damaged image": (damaged, "train", r"frame_0001\.jpg is"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_with_a_fault(line, fault):
    change, split, message = FAULTS[fault]
    change(line)
    with pytest.raises(data.DataError, match=message):
        sorting.folders(line, split, size=32)


def test_what_is_hidden_is_no_image(line):
    write(line / "training/before/video_001/.ipynb_checkpoints/frame_0000-checkpoint.jpg")
    write(line / "training/before/__MACOSX/frame_0000.jpg")
    (line / "training/before/video_001/._frame_0000.jpg").write_bytes(b"of macOS")
    (line / "training/before/folder.jpg").mkdir()
    assert len(sorting.folders(line, "train", size=32)) == 9


def test_two_images_of_one_name(line):
    write(line / "test_set/images/before/video_007/frame_0001.png")
    with pytest.raises(data.DataError, match="frame_0001 is there with two endings"):
        sorting.folders(line, "test", size=32)


def test_without_backgrounds_images_are_whole(line):
    remove("training", "bg")(line)
    assert sorting.folders(line, "train", size=32).labels.tolist() == [0] * 3 + [1] * 2


@pytest.mark.parametrize(("arguments", "message"), [({"split": "valid"}, 'split = "valid"'), ({"split": "test", "size": 4}, "size = 4")])
def test_folders_asked_for_wrongly(line, arguments, message):
    with pytest.raises(ValueError, match=message):
        sorting.folders(line, **arguments)
