"""Large photographs are restored tile by tile: the same as in one piece, in a memory that does not grow with them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from course_lib.denoising import bfcnn, cbdnet, common, dncnn, fdncnn, ffdnet, gradual


def alive(network):
    """With weights that all count, so that a pixel reaches as far as it can."""
    draws = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=draws) * (0.3 if parameter.dim() > 1 else 0.1))
    return network.eval()


PLAIN = dict(depth=4, width=6)
NETWORKS = {
    "DnCNN": (alive(dncnn.DnCNN(dncnn.Settings(**PLAIN))), 1, {}),
    "CDnCNN": (alive(dncnn.DnCNN(dncnn.Settings(**PLAIN, channels=3))), 3, {}),
    "BF-CNN": (alive(bfcnn.BFCNN(bfcnn.Settings(**PLAIN))), 1, {}),
    "FFDNet": (alive(ffdnet.FFDNet(ffdnet.Settings(**PLAIN))), 1, {"sigma": 0.1}),
    "FFDNet, a map": (alive(ffdnet.FFDNet(ffdnet.Settings(**PLAIN))), 1, {"sigma": torch.rand(1, 1, 167, 150) / 5}),
    "FDnCNN, a map": (alive(fdncnn.FDnCNN(fdncnn.Settings(**PLAIN))), 1, {"sigma": torch.rand(1, 1, 167, 150) / 5}),
    "gradual": (alive(gradual.GradualDenoiser(gradual.Settings(**PLAIN))), 1, {}),
    "CBDNet": (alive(cbdnet.CBDNet(cbdnet.Settings(width=4, estimator_width=4))), 3, {}),
    "CBDNet, told": (alive(cbdnet.CBDNet(cbdnet.Settings(width=4, estimator_width=4))), 3, {"level": torch.rand(1, 3, 167, 150) / 5}),
}


@pytest.fixture
def tiles(monkeypatch):
    """Tiles of 32 pixels for every image; returns how many there were."""
    made, real = [], common.in_tiles

    def in_tiles(restore, *images, **options):
        def counted(*parts):
            made.append(parts[0].shape)
            return restore(*parts)

        return real(counted, *images, **{**options, "above": 0, "side": 32})

    monkeypatch.setattr(common, "in_tiles", in_tiles)
    return made


def images(channels):
    return torch.rand(2, channels, 167, 150, generator=torch.Generator().manual_seed(channels))


@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_give_the_same(name, tiles, monkeypatch):
    network, channels, told = NETWORKS[name]
    found = network.denoise(images(channels), **told)
    assert len(tiles) == 2 * 6 * 5
    monkeypatch.undo()
    expected = network.denoise(images(channels), **told)
    assert found.shape == expected.shape and expected.std() > 1e-3
    assert (found - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())


def test_the_level_of_a_camera_in_tiles(tiles, monkeypatch):
    network = NETWORKS["CBDNet"][0]
    found = network.level(images(3))
    monkeypatch.undo()
    expected = network.level(images(3))
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("radius", [3, 4])
def test_a_pixel_less_around_a_tile_is_seen(radius):
    """The radius is not larger than it must be: four layers of 3×3."""
    network = NETWORKS["DnCNN"][0]
    with torch.no_grad():
        whole = network(images(1))
        found = common.in_tiles(network, images(1), radius=radius, above=0, side=32)
    assert torch.allclose(found, whole, atol=1e-5 * float(whole.abs().max())) is (radius == common.reach(network))


def test_small_images_are_not_cut():
    calls = []
    common.in_tiles(lambda image: calls.append(image.shape) or image, torch.rand(2, 1, 20, 20), radius=1)
    assert calls == [(2, 1, 20, 20)]
    common.in_tiles(lambda image: calls.append(image.shape) or image, torch.rand(1, 1, 2001, 2000), radius=1)
    assert len(calls) == 1 + 4 * 4 and max(shape[-1] for shape in calls[1:]) == common.TILE + 2


MEMORY = """
import re, torch
from course_lib.denoising import cbdnet

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])

def only_some(network, channels):
    real, calls = network.forward, []
    def forward(part):
        calls.append(part.shape)  # the 26th tile, the second of the second row, has neighbours on all sides
        return real(part) if len(calls) == 26 else torch.zeros_like(part[:, :channels])
    network.forward = forward

network = cbdnet.CBDNet(cbdnet.Settings()).eval()
only_some(network.denoiser, 3), only_some(network.estimator, 3)
before = peak()
network.denoise(torch.rand(1, 3, 4000, 6000))
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak of a process's memory is read from Linux")
def test_24_megapixels_take_at_most_1_5_gb():
    """The widest network there is, photograph and result included; of the tiles one is computed, which has neighbours on all sides."""
    found = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, timeout=600).stdout
    assert 2 * 288e6 < int(re.search(r"\d+", found)[0]) < 1.5e9
