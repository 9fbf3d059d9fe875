"""Files that people have: a photograph as its owner sees it, or words that say why not; and no file runs code.

The next case is one line: in ``SEEN`` for a file that is opened, in ``REFUSED`` for one that is not, with the words that are expected.
"""

import hashlib
import io
import os
import pickle
import unicodedata
import warnings

import joblib
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from sklearn.datasets import _olivetti_faces

from course_lib import data
from course_lib.data import dataset
from course_lib.metric_learning.gallery import Gallery, GalleryError

GRAY = np.linspace(0, 255, 40 * 30).reshape(30, 40).round().astype(np.uint8)  # wider than high, dark above
COLOR = np.stack([GRAY, GRAY[::-1], np.full_like(GRAY, 90)], -1)
DEEP = GRAY.astype(np.uint16) * 257


def file(array, format="PNG", mode=None, **options):
    """An image as the content of a file."""
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    picture = picture.convert(mode) if mode else picture
    content = io.BytesIO()
    picture.save(content, format, **options)
    return content.getvalue()


def turned(orientation, array=GRAY, **options):
    """The same image as a camera stores it that was held another way: pixels as on the sensor, and a word how to turn them."""
    back = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270,
            2: Image.Transpose.FLIP_LEFT_RIGHT, 5: Image.Transpose.TRANSPOSE}[orientation]  # fmt: skip
    picture = Image.fromarray(array)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return file(picture if back is None else picture.transpose(back), exif=exif, **options)


def transparent():
    """Black, opaque on the left and clear on the right."""
    alpha = np.zeros_like(GRAY)
    alpha[:, :20] = 255
    return np.stack([np.zeros_like(GRAY)] * 3 + [alpha], -1)


def half_black():
    return np.where(np.arange(40) < 20, 0, 255).astype(np.uint8)[None, None].repeat(30, 1)


def planes(array):
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


SEEN = {  # name -> (content, color, uint8 (C, H, W) that a person sees, largest difference)
    "gray PNG": (file(GRAY), None, planes(GRAY), 0),
    "gray PNG in colour": (file(GRAY), True, planes(GRAY).repeat(3, 0), 0),
    "colour PNG": (file(COLOR), None, planes(COLOR), 0),
    "colour PNG in gray": (file(COLOR), False, planes(np.asarray(Image.fromarray(COLOR).convert("L"))), 0),
    "JPEG": (file(COLOR, "JPEG", quality=98, subsampling=0), None, planes(COLOR), 6),
    "WebP": (file(COLOR, "WEBP", lossless=True), None, planes(COLOR), 0),
    "BMP": (file(COLOR, "BMP"), None, planes(COLOR), 0),
    "TIFF": (file(COLOR, "TIFF"), None, planes(COLOR), 0),
    "GIF": (file(GRAY, "GIF"), None, planes(GRAY), 0),
    "black and white": (file(((GRAY > 99) * 255).astype(np.uint8), mode="1"), None, planes(((GRAY > 99) * 255).astype(np.uint8)), 0),
    "palette": (file(Image.fromarray(GRAY).convert("P")), None, planes(GRAY).repeat(3, 0), 0),
    "16-bit PNG": (file(DEEP), None, planes(GRAY), 0),
    "16-bit PNG in colour": (file(DEEP), True, planes(GRAY).repeat(3, 0), 0),
    "16-bit TIFF": (file(DEEP, "TIFF"), None, planes(GRAY), 0),
    "16-bit TIFF, big-endian": (file(Image.frombytes("I;16B", (40, 30), DEEP.astype(">u2").tobytes()), "TIFF"), None, planes(GRAY), 0),
    "transparent": (file(transparent()), None, half_black().repeat(3, 0), 0),
    "transparent, in gray": (file(transparent()), False, half_black(), 0),
    "gray with transparency": (file(transparent()[..., 2:]), None, half_black(), 0),
    "transparent palette": (file(Image.fromarray(transparent()).quantize(4)), None, half_black().repeat(3, 0), 0),
    "one gray level transparent": (file(half_black()[0], transparency=0), None, np.full((1, 30, 40), 255), 0),
    "CMYK": (file(COLOR, "TIFF", mode="CMYK"), None, planes(COLOR), 1),
    "a space that is sRGB": (file(COLOR, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()), None,
                             planes(COLOR), 0),
    "a profile that is none": (file(COLOR, icc_profile=b"no profile"), None, planes(COLOR), 0),
    **{f"turned, {orientation}": (turned(orientation), None, planes(GRAY), 0) for orientation in (1, 2, 3, 5, 6, 8)},
    "turned JPEG": (turned(6, COLOR, format="JPEG", quality=98, subsampling=0), None, planes(COLOR), 6),
    "turned, 16 bits": (turned(6, DEEP), None, planes(GRAY), 0),
    "two views of one camera": (file(COLOR, "MPO", save_all=True, append_images=[Image.fromarray(COLOR)], quality=98, subsampling=0), None,
                                planes(COLOR), 6),
}  # fmt: skip


@pytest.mark.parametrize("name", SEEN)
def test_a_file_is_what_a_person_sees(name, tmp_path):
    content, color, expected, tolerance = SEEN[name]
    path = tmp_path / "mine"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = data.open_image(path, color=color)
    assert image.dtype == torch.uint8 and image.is_contiguous() and tuple(image.shape) == expected.shape
    assert np.abs(image.numpy().astype(int) - expected).max() <= tolerance
    assert torch.equal(data.decoded(content, {None: None, True: "RGB", False: "L"}[color]), image)


def animated():
    return file(GRAY, "GIF", save_all=True, append_images=[Image.fromarray(255 - GRAY)])


def cut(content):
    return content[: len(content) * 2 // 3]


NOISY = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
REFUSED = {  # name of the file -> (content, None for none, and words that the message has)
    "nothing.png": (None, "nothing.png is missing: relative names are looked for in"),
    "empty.png": (b"", "empty.png is no image that Pillow reads: save it as JPEG or PNG"),
    "text.jpg": (b"not an image", "text.jpg is no image"),
    "phone.heic": (b"\0\0\0\x18ftypheic", "phone.heic is no image that Pillow reads.*HEIC"),
    "cut.png": (cut(file(NOISY)), "cut.png is damaged or cut"),
    "cut.jpg": (cut(file(NOISY, "JPEG")), "cut.jpg is damaged or cut"),
    "wrong.png": (file(NOISY)[:100] + b"\xff" * 50 + file(NOISY)[150:], "wrong.png is damaged or cut"),
    "animated.gif": (animated(), "animated.gif has 2 pictures in it: save one of them"),
    "pages.tif": (file(GRAY, "TIFF", save_all=True, append_images=[Image.fromarray(GRAY)]), "pages.tif has 2 pictures in it"),
    "float.tif": (file(GRAY.astype(np.float32), "TIFF"), "float.tif holds floating-point numbers of 32 bits"),
    "integers.tif": (file(GRAY.astype(np.int32), "TIFF"), "integers.tif holds integers of 32 bits"),
    "sensor.NEF": (file(GRAY, "TIFF"), "sensor.NEF is raw data of a camera's sensor: develop it"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_shown_is_refused_in_words(name, tmp_path):
    content, words = REFUSED[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(data.DataError, match=words):
        data.open_image(tmp_path / name)


def test_what_is_no_file_is_refused_in_words(tmp_path):
    with pytest.raises(data.DataError, match="cannot be read"):
        data.open_image(tmp_path)
    for path in (None, 3, b"mine.png", GRAY):
        with pytest.raises(TypeError, match="path is .* but the name of a file is expected"):
            data.open_image(path)
    with pytest.raises(TypeError, match="color is 'RGB'"):
        data.open_image(tmp_path / "mine.png", color="RGB")


def test_a_picture_of_too_many_pixels(monkeypatch, tmp_path):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    (tmp_path / "large.png").write_bytes(file(GRAY))
    assert data.open_image(tmp_path / "large.png").shape == (1, 30, 40)  # Pillow warns from there on, and refuses twice as many
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(data.DataError, match="large.png has too many pixels"):
        data.open_image(tmp_path / "large.png")


def test_colours_of_another_space_are_shown_as_a_screen_shows_them(tmp_path):
    """In a space whose first number means green and whose second means red, a red image is a green one."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = profile.replace(*(word.encode("utf-16-be") for word in ("sRGB", "Mine")))
    swapped = other.replace(b"rXYZ", b"....").replace(b"gXYZ", b"rXYZ").replace(b"....", b"gXYZ")
    path = tmp_path / "other.png"
    path.write_bytes(file(COLOR, icc_profile=swapped))
    assert np.abs(data.open_image(path).numpy().astype(int) - planes(COLOR)[[1, 0, 2]]).max() <= 3


# --- code that runs -------------------------------------------------------------------------------------------------------


class Planted:
    """What an attacker leaves: to unpickle it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("dump", [
    lambda thing, path: joblib.dump(thing, path, compress=6), lambda thing, path: path.write_bytes(pickle.dumps(thing)),
])  # fmt: skip
@pytest.mark.parametrize(("name", "asked"), [
    ("olivetti_py3.pkz", "faces"), ("olivettifaces.mat", "faces"), ("olivetti.pkz", "faces"),
    ("cifar-10-batches-py/data_batch_1", "cifar10"), ("cifar10-jpeg/cifar10_jpeg.npz", "cifar10_jpeg"),
    ("MNIST/raw/train-images-idx3-ubyte", "mnist"),
])  # fmt: skip
def test_a_planted_file_does_not_run(name, asked, dump, tmp_path):
    (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
    dump(Planted(tmp_path / "it ran"), tmp_path / "root" / name)
    with pytest.raises(data.DataError):
        data.load(asked, "train" if asked in data.SPLIT else None, root=tmp_path / "root")
    assert not (tmp_path / "it ran").exists()


def test_the_pickle_of_scikit_learn_is_named_and_not_opened(tmp_path):
    joblib.dump(np.zeros((400, 4096), np.float32), tmp_path / "olivetti_py3.pkz")
    with pytest.raises(data.DataError, match=r"download=True.*olivetti_py3\.pkz is there, but a pickle may run any code"):
        data.load("faces", root=tmp_path)


def olivetti():
    """A file as that of scikit-learn: 400 faces of 64×64 as the columns of a matrix, each column by column."""
    from scipy.io import savemat

    faces = np.random.default_rng(0).integers(0, 256, (400, 64, 64), np.uint8)
    faces[0, 0, :2] = 0, 255
    content = io.BytesIO()
    savemat(content, {"faces": faces.transpose(0, 2, 1).reshape(400, 4096).T.astype(float)})
    return faces, content.getvalue()


def test_the_olivetti_file_is_read_when_its_hash_is_right(tmp_path, monkeypatch):
    faces, content = olivetti()
    assert data.manifest()["olivettifaces.mat"] == _olivetti_faces.FACES.checksum
    (tmp_path / "olivettifaces.mat").write_bytes(content)
    with pytest.raises(data.AlteredError, match="olivettifaces.mat is truncated or altered"):
        data.load("faces", root=tmp_path)
    monkeypatch.setattr(dataset, "manifest", lambda: {"olivettifaces.mat": hashlib.sha256(content).hexdigest()})
    found = data.load("faces", root=tmp_path)
    assert np.array_equal(found.images[:, 0].numpy(), faces) and "64×64" in found.source
    assert found.labels.tolist() == [i // 10 for i in range(400)]


def test_olivetti_is_downloaded_as_scikit_learn_does(tmp_path, monkeypatch):
    _, content = olivetti()
    monkeypatch.setattr(dataset, "manifest", lambda: {"olivettifaces.mat": hashlib.sha256(content).hexdigest()})

    def fetch(remote, dirname):
        assert remote is _olivetti_faces.FACES
        (dirname / remote.filename).write_bytes(content)

    monkeypatch.setattr("sklearn.datasets._base._fetch_remote", fetch)
    assert len(data.load("faces", root=tmp_path / "new", download=True)) == 400
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["olivettifaces.mat"]


# --- galleries ------------------------------------------------------------------------------------------------------------


def gallery():
    made = Gallery(4, network="a")
    made.enrol("José", torch.randn(2, 4, generator=torch.Generator().manual_seed(0)))
    made.enrol("Ada", torch.randn(1, 4, generator=torch.Generator().manual_seed(1)))
    return made


def test_no_flipped_bit_of_a_gallery_goes_unnoticed(tmp_path):
    """Each bit of the file in turn: refused, or the same gallery (where it is padding)."""
    made, path = gallery(), tmp_path / "door"
    made.save(path)
    content = path.read_bytes()
    for bit in range(0, 8 * len(content), 3):
        altered = bytearray(content)
        altered[bit // 8] ^= 1 << bit % 8
        path.write_bytes(altered)
        try:
            read = Gallery.load(path, network="a")
        except GalleryError:
            continue
        assert read.people == made.people and all(torch.equal(read.templates(p), made.templates(p)) for p in made.people)


def test_a_gallery_without_a_checksum_is_refused(tmp_path):
    from safetensors.torch import save_file

    about = {"people": '["Ada"]', "network": "a", "dimension": "2"}
    save_file({"templates": torch.ones(1, 2), "owners": torch.zeros(1, dtype=torch.long)}, tmp_path / "old", metadata=about)
    with pytest.raises(GalleryError, match="does not have the checksum that was saved with it"):
        Gallery.load(tmp_path / "old", network="a")


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_a_name_is_the_same_however_its_accents_were_typed(form, tmp_path):
    made, typed = gallery(), unicodedata.normalize(form, "José")
    assert typed in made and len(made.templates(typed)) == 2
    with pytest.raises(GalleryError, match="enrolled already"):
        made.enrol(typed, torch.ones(1, 4))
    made.add(typed, torch.ones(1, 4))
    assert bool(made.verify(torch.ones(1, 4), typed, 0.5, rule="min"))
    made.save(tmp_path / "door")
    assert Gallery.load(tmp_path / "door", network="a").people == ["José", "Ada"]
    made.remove(typed)
    assert made.people == ["Ada"]
