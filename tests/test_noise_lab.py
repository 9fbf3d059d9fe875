"""What the noise lab loads: pinned packages, our weights, photos that are what they are said to be."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import io
import json
import re
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lab_photos
from course_lib import results, weights

BOOK = Path(__file__).resolve().parents[1] / "book"
sys.path.append(str(BOOK / "_sphinx"))
import noise_lab  # noqa: E402


def handed_over(text: str) -> tuple[str, bytes]:
    """The asset of a script: its name and its bytes."""
    name, coded = re.search(r'noiseLabAsset\("([^"]+)", "([^"]+)"\);\n$', text).groups()
    return name, gzip.decompress(base64.b64decode(coded))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of one file in a registry that is a folder."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        entry = tarfile.TarInfo("package/a.js")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"let a"))
    digest = base64.b64encode(hashlib.sha512(content.getvalue()).digest()).decode()
    made = noise_lab.Package("@x/toy", "1.2.3", digest, {"a": "package/a.js"})
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", (tmp_path / "registry").as_uri())
    place = tmp_path / "registry" / "@x" / "toy" / "-" / "toy-1.2.3.tgz"
    place.parent.mkdir(parents=True)
    place.write_bytes(content.getvalue())
    monkeypatch.setattr(noise_lab, "TENSORFLOW", (made,))
    return made, place


def test_a_package_is_fetched_once_and_then_comes_from_the_cache(package, tmp_path):
    made, place = package
    assert noise_lab.tensorflow(tmp_path / "cache") == {"a": b"let a"}
    place.unlink()
    assert noise_lab.tensorflow(tmp_path / "cache") == {"a": b"let a"}


@pytest.mark.parametrize("kept", [b"", b"of another version"])
def test_a_damaged_cache_is_fetched_again(kept, package, tmp_path):
    made, _ = package
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / made.tarball).write_bytes(kept)
    assert noise_lab.matches(noise_lab.tarball(made, tmp_path / "cache"), made)
    assert noise_lab.matches((tmp_path / "cache" / made.tarball).read_bytes(), made)


def test_what_is_not_what_is_pinned_is_refused_and_not_kept(package, tmp_path):
    made, place = package
    place.write_bytes(place.read_bytes() + b"!")
    with pytest.raises(noise_lab.VendorError, match="another SHA-512 than the one that is pinned"):
        noise_lab.tarball(made, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_without_network_all_else_is_written_and_the_page_is_told(package, tmp_path):
    made, place = package
    place.unlink()
    why = noise_lab.write(tmp_path / "lab", tmp_path / "cache")
    assert made.address in why and "build again with network" in why and made.tarball in why
    manifest = json.loads((tmp_path / "lab" / "manifest.js").read_text().removeprefix("const noiseLabManifest = ").rstrip(";\n"))
    assert manifest["missing"] and "a" not in manifest["sizes"]
    assert all((tmp_path / "lab" / f"{name}.js").stat().st_size == size for name, size in manifest["sizes"].items())


def test_scripts_hand_over_what_they_are_said_to(package, tmp_path):
    assert noise_lab.write(tmp_path / "lab", tmp_path / "cache") == ""
    found = dict(handed_over((tmp_path / "lab" / f"{name}.js").read_text()) for name in ("a", "weights-gray", "weights-colour", "worker"))
    assert found["a"] == b"let a"
    for name, recipe in (("gray", "ffdnet"), ("colour", "cffdnet")):
        assert found[f"weights-{name}"] == weights.path(recipe, results.best(recipe)).read_bytes()
    assert found["worker"] == (noise_lab.SOURCES / "worker.js").read_bytes()
    assert "Apache License 2.0" in (tmp_path / "lab" / "a.js").read_text().splitlines()[0]


def test_weights_that_are_not_those_of_the_record_are_not_handed_over(monkeypatch):
    monkeypatch.setattr(results, "read", lambda *_: {"weights": {"file": "ffdnet.laptop.safetensors", "sha256": "0" * 64}})
    with pytest.raises(ValueError, match="ffdnet.laptop.safetensors is truncated, altered or of another run"):
        noise_lab.shipped("ffdnet")


def test_what_a_click_loads_stays_small(tmp_path):
    """As a server sends it, compressed."""
    if why := noise_lab.write(tmp_path / "lab"):
        pytest.skip(f"there is no TensorFlow.js: {why}")
    names = ("tf-core", "tf-wasm", "worker", "wasm", "weights-gray")
    sizes = {name: len(gzip.compress((tmp_path / "lab" / f"{name}.js").read_bytes(), 6)) for name in names}
    assert sum(sizes.values()) < 1_250_000 and sizes["weights-gray"] < 1_000_000
    page = sum(len(gzip.compress((tmp_path / "lab" / name).read_bytes(), 6)) for name in noise_lab.STATIC)
    assert page < 20_000, "what every visit loads"


def test_pins_are_whole_and_of_one_version():
    assert {package.version for package in noise_lab.TENSORFLOW} == {"4.22.0"}
    assert all(len(base64.b64decode(package.sha512)) == 64 for package in noise_lab.TENSORFLOW)


@pytest.mark.parametrize("name", ["camera", "astronaut", "cat"])
def test_photos_are_those_of_the_packages(name):
    stored = np.asarray(Image.open(lab_photos.FOLDER / f"{name}.webp").convert("RGB"))
    made = lab_photos.photos()[name]
    assert (stored == (made if made.ndim == 3 else made[..., None])).all() and stored.shape == (256, 256, 3)


def test_halved_is_the_mean_of_four_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    for y in range(3):
        for x in range(4):
            mean = pixels[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].reshape(4, 3).astype(float).mean(axis=0)
            assert (lab_photos.halved(pixels)[y, x] == np.floor(mean + 0.5)).all()


def test_the_stored_lab_of_a_chapter(tmp_path):
    assert noise_lab.stored_lab(BOOK / "09_ffdnet.ipynb", "noise-lab").startswith('<div class="lab noise-lab"')
    (tmp_path / "empty.ipynb").write_text('{"cells": [{"outputs": []}, {}]}')
    with pytest.raises(LookupError, match="empty.ipynb has no stored output with a noise-lab: execute it"):
        noise_lab.stored_lab(tmp_path / "empty.ipynb", "noise-lab")


@pytest.mark.parametrize("classes", [["noise-panel"], ["noise-panel", "tlod"], ["noise-panel", "told", "squares"]])
def test_a_panel_of_no_kind_or_of_two_is_refused(classes):
    with pytest.raises(ValueError, match=f"{', '.join(classes)}: one of removed, told, squares is needed"):
        noise_lab.panel(classes)


def test_a_panel_says_what_it_has():
    tag = noise_lab.panel(["noise-panel", "told"])
    options = json.loads(html.unescape(re.fullmatch(r'<div class="noise-lab-here noise-panel" data-lab="([^"]*)">', tag)[1]))
    assert options == {**noise_lab.PANELS["told"], "ask": noise_lab.ASK}


def test_panels_of_chapters():
    """Each kind stands in one chapter, with a text that is enough where nothing runs, and with a link to the lab."""
    found = {}
    for chapter in BOOK.glob("[0-9]*.md"):
        for kind, text in re.findall(r":::\{div\} noise-panel (\w+)\n(.*?)\n:::", chapter.read_text(encoding="utf-8"), re.DOTALL):
            found[chapter.stem] = kind
            assert "(noise_lab.md)" in text and text.startswith("On the website ")
    assert found == {"08_dncnn": "removed", "09_ffdnet": "told", "13_noise2void": "squares"}
    assert set(found.values()) == set(noise_lab.PANELS)


def test_panels_of_a_page_become_labs_and_their_scripts_come_once():
    from docutils import nodes

    page = nodes.section("", nodes.container("", nodes.paragraph("", "other")))
    for kind in ("told", "removed"):
        page += nodes.container("", nodes.paragraph("", "text"), classes=["noise-panel", kind])
    noise_lab.enliven_panels(None, page)
    first, *rest = page.children
    assert isinstance(first, nodes.container), "what is no panel stays"
    assert [type(node) for node in rest] == [nodes.raw, nodes.paragraph, nodes.raw] * 2
    raw = [node.astext() for node in rest if isinstance(node, nodes.raw)]
    assert raw[0].startswith("<div ") and raw[1] == "</div>" and raw[3] == f"</div>{noise_lab.page_scripts()}"
    loaded = re.findall(r'(?:src|href)="lab/([^"]+)"', raw[3])
    assert loaded == ["page.css", "manifest.js", "engine.js", "picture.js", "controls.js", "page.js"]
