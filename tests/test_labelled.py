"""Labelled epochs, crops and flips, against loops over images."""

import pytest
import torch

from course_lib import devices
from course_lib.data import Dataset
from course_lib.labelled import LabelledPool, crops, flips
from course_lib.rng import Draws


def images(count=10, channels=3, height=6, width=5):
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def pool(count=10):
    return LabelledPool(images(count), torch.arange(count) % 4, 4)


@pytest.mark.parametrize("batch", [1, 3, 5, 10, 24])
def test_every_image_comes_once_an_epoch(batch):
    data, drawn = pool(), []
    for step in range(90 // batch):
        drawn += data.places(Draws(5, step), batch).tolist()
    epochs = [drawn[i : i + 10] for i in range(0, len(drawn) // 10 * 10, 10)]
    assert len(epochs) >= 7 and all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs), "each in another order"


def test_the_order_is_of_seed_and_epoch_alone():
    data = pool()
    alone = [data.places(Draws(1, step), 4) for step in range(5)]
    assert all(torch.equal(data.places(Draws(1, step), 4), alone[step]) for step in (3, 0, 4)), "so that a run can be resumed anywhere"
    assert not all(torch.equal(data.places(Draws(2, step), 4), alone[step]) for step in range(5))
    whole = [data.places(Draws(1, step), 2) for step in range(10)]
    assert torch.equal(torch.cat(alone), torch.cat(whole)), "whatever the size of the batches"


def test_processes_share_an_epoch_out(monkeypatch):
    data = pool()
    one = [data.places(Draws(1, step), 4) for step in range(5)]
    monkeypatch.setattr(devices, "processes", lambda: 2)
    both = [torch.cat([data.places(Draws(1, step, rank), 2) for rank in range(2)]) for step in range(5)]
    assert all(torch.equal(a, b) for a, b in zip(one, both, strict=True))


def test_an_epoch_gives_images_and_labels():
    data = pool()
    places = data.places(Draws(1, 2), 6)
    batch, labels = data.epoch(Draws(1, 2), 6)
    assert batch.dtype == torch.float32 and torch.equal(batch, images()[places] / 255)
    assert torch.equal(labels, torch.arange(10)[places] % 4)


@pytest.mark.parametrize("padding", [0, 1, 4])
def test_crops_are_those_of_a_loop(padding):
    batch = images(40) / 255
    found = crops(batch, padding, torch.Generator().manual_seed(1))
    offset = torch.randint(2 * padding + 1, (2, 40, 1), generator=torch.Generator().manual_seed(1))
    seen = set()
    for image, moved, down, right in zip(batch, found, *offset.flatten(1).tolist(), strict=True):
        seen.add((down, right))
        for y in range(6):
            for x in range(5):
                row, column = y + down - padding, x + right - padding
                inside = 0 <= row < 6 and 0 <= column < 5
                assert torch.equal(moved[:, y, x], image[:, row, column] if inside else torch.zeros(3))
    assert found.shape == batch.shape and (len(seen) == 1) == (padding == 0)
    assert torch.equal(crops(batch, 0, torch.Generator()), batch)
    wide = images()[..., 1:]  # neither square nor, channels last, in the order of its shape in memory
    for way in (crops, flips):
        given = (2,) if way is crops else ()
        one, other = (way(x, *given, torch.Generator().manual_seed(4)) for x in (wide, wide.contiguous(memory_format=torch.channels_last)))
        assert torch.equal(one, other) and one.shape == wide.shape and one.dtype == torch.uint8


def test_flips_are_the_image_or_its_mirror_image():
    batch = images(200) / 255
    found = flips(batch, torch.Generator().manual_seed(1))
    mirrored = [torch.equal(new, old.flip(-1)) for new, old in zip(found, batch, strict=True)]
    same = [torch.equal(new, old) for new, old in zip(found, batch, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True)) and 70 < sum(mirrored) < 130


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        (lambda: LabelledPool(images() / 255, torch.zeros(10).long(), 2), TypeError, "8-bit numbers"),
        (lambda: LabelledPool(images()[0], torch.zeros(3).long(), 2), ValueError, r"shape \(3, 6, 5\) was given, but \(N, C, H, W\)"),
        (lambda: LabelledPool((images()[0], images()[0]), torch.zeros(2).long(), 2), ValueError, "of several sizes.*of one size"),
        (lambda: LabelledPool(images(), torch.zeros(9).long(), 2), ValueError, "10 images, but 9 labels"),
        (lambda: LabelledPool(images(), torch.zeros(10), 2), TypeError, "float32"),
        (lambda: LabelledPool(images(), torch.arange(10), 9), ValueError, "labels are 0 to 9, but there are classes = 9"),
        (lambda: LabelledPool.of(Dataset("set12", images(), "drawn", tuple("0123456789")), 2), ValueError, "set12 has no labels"),
        (lambda: crops(images() / 255, -1, torch.Generator()), ValueError, "padding = -1"),
    ],
)
def test_wrong_input(made, error, message):
    with pytest.raises(error, match=message):
        made()
