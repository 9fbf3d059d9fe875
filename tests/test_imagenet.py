"""Photographs in folders, on a small folder in the layout of ImageNet that is made here."""

import pytest
import torch
from PIL import Image

from course_lib import data, recording, results, rng, runs, weights
from course_lib.noisy_classification import imagenet, pixel_regularisation
from course_lib.noisy_classification.resnet import ResNet18
from course_lib.recipes import noisy_classification as of_noisy

CLASSES = ("n01440764", "n01443537", "n02102040")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def photograph(file, seed, size=(60, 48)):
    """Colourful squares, as a JPEG."""
    squares = torch.randint(256, (3, 6, 5), dtype=torch.uint8, generator=seeded(seed)).permute(1, 2, 0).numpy()
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(squares).resize(size, Image.Resampling.NEAREST).save(file, "JPEG", quality=95)


def boxes(file, *found, width=60, height=48):
    """A file of boxes (xmin, ymin, xmax, ymax) as ImageNet distributes them."""
    objects = "".join(
        "<object><bndbox>" + "".join(f"<{n}>{v}</{n}>" for n, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        + "</bndbox></object>"
        for box in found
    )  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"<annotation><size><width>{width}</width><height>{height}</height></size>{objects}</annotation>")


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "ImageNet"
    for c, name in enumerate(CLASSES):
        for i in range(4):
            photograph(place / "train" / name / f"{name}_{i}.JPEG", 10 * c + i)
            boxes(place / "Annotation" / name / f"{name}_{i}.xml", (15, 12, 45, 36))
        for i in range(2):
            photograph(place / "val" / name / f"ILSVRC2012_val_{2 * c + i:08}.JPEG", 100 + 10 * c + i, size=(40, 60))
    return place


def tiny(**changes):
    small = {"size": 32, "classes": 3, "training": "pivot", "batch_size": 8, "steps": 2, "precision": "32-true"}
    return pixel_regularisation.Settings(**{**of_noisy.IMAGENET, **small, **changes})


def test_photographs_and_their_classes(folder):
    train, val = (imagenet.photographs(folder, split) for split in ("train", "val"))
    assert (len(train), len(val), train.classes) == (12, 6, CLASSES) and train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert train.names[0] == "n01440764/n01440764_0.JPEG" and "12 photographs of 3 classes" in str(train)


@pytest.mark.parametrize(
    ("found", "box"),
    [
        ([(15, 12, 45, 36)], (0.25, 0.25, 0.75, 0.75)),
        ([(0, 0, 6, 48), (0, 0, 60, 12)], (0.0, 0.0, 0.25, 1.0)),  # of several the largest
        ([], (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_boxes(folder, found, box):
    boxes(folder / "Annotation" / CLASSES[0] / f"{CLASSES[0]}_0.xml", *found)
    assert imagenet.photographs(folder, "train").box(0) == pytest.approx(box)
    assert imagenet.photographs(folder, "val").box(0) == (0, 0, 0, 0), "test images have none"


def test_a_crop_and_its_box_stay_together():
    """A white box on black: whatever is cut, what is left of the box is what is white."""
    image = torch.zeros(3, 200, 300, dtype=torch.uint8)
    image[:, 40:160, 90:240] = 255
    box = (40 / 200, 90 / 300, 160 / 200, 240 / 300)
    for i, (area, *at) in enumerate([(1.0, 0.0, 0.0), (0.5, 0.0, 1.0), (0.64, 0.5, 0.5), (0.5, 1.0, 0.0)]):
        made, (top, left, bottom, right) = imagenet.cut(image, box, size=100, area=area, at=tuple(at))
        white = (made[0] > 127).nonzero()
        assert made.shape == (3, 100, 100), i
        expected = torch.tensor([top, left, bottom, right])
        assert ((torch.cat([white.amin(0), white.amax(0) + 1]) - expected).abs() <= 1).all(), i
    *_, gone = imagenet.cut(image, (0.0, 0.0, 0.1, 0.1), size=100, area=0.5, at=(1.0, 1.0))
    assert gone[2] == gone[0] or gone[3] == gone[1], "nothing is left of it"


def test_a_batch_is_drawn_from_files(folder):
    settings = tiny()
    pool = pixel_regularisation.prepare(imagenet.photographs(folder, "train"), settings)
    drawn = [pixel_regularisation.batch(pool, rng.Draws(*key), settings) for key in ((0, 1), (0, 1), (0, 2), (1, 1))]
    assert torch.equal(drawn[0][0], drawn[1][0]) and not any(torch.equal(drawn[0][0], other[0]) for other in drawn[2:])
    images, labels = drawn[0]
    assert images.shape == (8, 3, 32, 32) and images.min() >= 0 and images.max() <= 1 and torch.equal(labels[:4], labels[4:])
    mixed, low, clean = images[0], images[1], images[4:]
    assert ((mixed == clean[0]).all(0).float().mean() > 0.1) and ((low != clean[1]).any(0).float().mean() > 0.5)
    seen = [n for step in range(3) for n in pool.augmented(rng.Draws(0, step), 4, padding=0, flip=True)[1].tolist()]
    assert sorted(seen) == sorted(pool.labels.tolist()), "an epoch has every photograph once"


def test_boxes_are_mirrored_with_their_photographs(folder):
    for name in CLASSES:
        for i in range(4):
            white = Image.new("RGB", (64, 64))
            white.paste((255, 255, 255), (8, 20, 30, 44))
            white.save(folder / "train" / name / f"{name}_{i}.JPEG", "PNG")
            boxes(folder / "Annotation" / name / f"{name}_{i}.xml", (8, 20, 30, 44), width=64, height=64)
    pool = imagenet.PhotographPool(imagenet.photographs(folder, "train"), tiny())
    images, _, found = pool.augmented(rng.Draws(), 12, padding=0, flip=True)
    sides = set()
    for image, (top, left, bottom, right) in zip(images, found.tolist(), strict=True):
        inside = image[0, top:bottom, left:right]
        assert inside.numel() == 0 or inside.mean() > 0.8
        sides.add(left + right > 32)
    assert sides == {True, False}, "some are mirrored, and some are not"


def test_evaluation_sees_the_regions(folder):
    for c, name in enumerate(CLASSES):
        for i in range(2):
            boxes(folder / "Annotation" / name / f"ILSVRC2012_val_{2 * c + i:08}.xml", (0, 0, 40, 60), width=40, height=60)
    settings = tiny()
    pool = imagenet.PhotographPool(imagenet.photographs(folder, "val"), settings)
    model = ResNet18(settings, seed=0).eval()
    clean, region = (imagenet.evaluate(model, pool, factor=f, region=r) for f, r in ((1, False), (4, True)))
    assert clean == region and len(clean) == 6, "a box around everything leaves everything"
    assert imagenet.evaluate(model, pool, indices=[4, 1], at_once=1) == [clean[4], clean[1]]


def test_from_the_recipe_to_the_record(folder, home, monkeypatch):
    """Clean photographs first, then fine-tuned with the pivot loss from the weights of that."""
    monkeypatch.setenv("COURSE_DATA", str(folder.parent))
    changes = {"size": "32", "classes": "3", "steps": "2", "batch_size": "8", "precision": "32-true"}
    for recipe in ("imagenet_clean", "imagenet_pivot"):
        file = home / f"{recipe}.ckpt"
        model, *_ = runs.train(recipe, "paper", changes=changes, checkpoint=file)
        written = recording.record(recipe, "paper", file, note="a test")
        assert list(written["metrics"]["imagenet"]) == ["accuracy", "accuracy_x4region", "accuracy_x4nearest"]
        assert results.read(recipe)["paper"]["imagenet"]["accuracy"]["value"] in (68.1, 67.4)
        assert weights.path(recipe).is_file() and model.mean.std(dim=(1, 2)).max() < 1e-6, "one mean for each colour"
    with pytest.raises(ValueError, match='on the photographs below .*, and on no other data such as "photos"'):
        runs.evaluate("imagenet_clean", "paper", model, only="photos")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda place: None, "train is missing: put a folder for each class"),
        (lambda place: (place / "train").mkdir(parents=True), "has no folders of classes"),
        (lambda place: [(place / "train" / n).mkdir(parents=True) for n in "ab"], "has a class without photographs .*a, b"),
        (lambda place: (photograph(place / "train" / "a" / "1.JPEG", 0), (place / "train" / "b").mkdir()), "without photographs .*b"),
    ],
    ids=["no folder", "no classes", "empty classes", "one class empty"],
)
def test_folders_that_are_no_data_set(tmp_path, spoil, message):
    spoil(tmp_path)
    with pytest.raises(data.DataError, match=message):
        imagenet.photographs(tmp_path, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", "is no file of boxes in the format of PASCAL VOC"),
        ("<annotation><size><width>60</width></size></annotation>", "is no file of boxes"),
        ("<annotation><size><width>60</width><height>48</height></size><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>61</xmax>"
         "<ymax>9</ymax></bndbox></annotation>", r"region of interest .* = \(0, 0, 9, 61\) is not inside .* 48 rows"),
    ],
)  # fmt: skip
def test_boxes_that_make_no_sense(folder, text, message):
    (folder / "Annotation" / CLASSES[0] / f"{CLASSES[0]}_0.xml").write_text(text)
    with pytest.raises(data.DataError, match=message):
        imagenet.photographs(folder, "train").box(0)


def test_a_size_of_nothing(folder):
    boxes(folder / "Annotation" / CLASSES[0] / f"{CLASSES[0]}_0.xml", (0, 0, 0, 0), width=0, height=0)
    with pytest.raises(data.DataError, match="says that the photograph has 0 rows and 0 columns"):
        imagenet.photographs(folder, "train").box(0)


def test_other_classes_to_test_on_than_to_train_on(folder):
    (folder / "val" / CLASSES[1]).rename(folder / "val" / "n99999999")
    with pytest.raises(data.DataError, match="must have the same classes, but only one of them has n01443537, n99999999"):
        imagenet.photographs(folder, "val")


def test_a_hidden_folder_is_no_class(folder):
    photograph(folder / "train" / ".ipynb_checkpoints" / "1.JPEG", 0)
    with pytest.raises(data.DataError, match="ipynb_checkpoints is hidden, but would count as a class"):
        imagenet.photographs(folder, "train")


def test_another_number_of_classes(folder):
    with pytest.raises(ValueError, match="there are 3 classes of photographs in colour, but classes = 1000"):
        pixel_regularisation.prepare(imagenet.photographs(folder, "train"), tiny(classes=1000))


def test_a_damaged_photograph_is_named(folder):
    (folder / "train" / CLASSES[1] / f"{CLASSES[1]}_2.JPEG").write_bytes(b"no image")
    pool = imagenet.PhotographPool(imagenet.photographs(folder, "train"), tiny())
    with pytest.raises(data.DataError, match=f"{CLASSES[1]}_2.JPEG is no image"):
        pool.augmented(rng.Draws(), 12, padding=0, flip=True)
