"""Pretext tasks: tiles and their places, puzzles, views, holes, colours; what closes their shortcuts; and their recipes."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from timing import times_as_fast

from course_lib import data, probes, recipes, rng, runs, training
from course_lib.batches import to_float, to_uint8
from course_lib.data import Dataset
from course_lib.pretext import autoencoder, colourisation, contrastive, exemplar, jigsaw, lens, nin, patch_position, permutations, tiles
from course_lib.pretext.pink_noise import pink_noise
from course_lib.recipes import pretext_tasks

NET = dict(width=4, blocks=2, batch_size=6, steps=3, initial_gamma="ones", precision="32-true")
OF_TILES = dict(**NET, size=16, tile=4, gap=1, jitter=1, colour="kept", embedding=8, hidden=16)
METHODS = {
    patch_position: patch_position.Settings(**OF_TILES),
    jigsaw: jigsaw.Settings(**OF_TILES, permutations=5, puzzles=2),
    contrastive: contrastive.Settings(**NET, size=16, embedding=8),
    autoencoder: autoencoder.Settings(**NET, size=16, code=6, padding=2),
    colourisation: colourisation.Settings(**NET, size=16, padding=2),
    exemplar: exemplar.Settings(**NET, size=16, classes=8),
}


def rand(*shape, dtype=torch.float32, seed=1):
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(count=10, channels=3, side=16):
    images = torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=gen(2))
    return Dataset("drawn", images, "drawn", tuple(map(str, range(count))))


# --- tiles ----------------------------------------------------------------------------------------------------------------


def test_tiles_against_a_loop():
    images = rand(3, 2, 9, 11)
    top, left = (torch.randint(0, most, (3, 5), generator=gen(most)) for most in (7, 9))
    found = tiles.cut(images, top, left, 3)
    for b, t in itertools.product(range(3), range(5)):
        y, x = top[b, t], left[b, t]
        assert torch.equal(found[b, t], images[b, :, y : y + 3, x : x + 3])
    by_channel = tiles.cut(images, torch.stack([top, top * 0], 2), torch.stack([left, left * 0], 2), 3)
    assert torch.equal(by_channel[:, :, 0], found[:, :, 0])
    assert torch.equal(by_channel[:, :, 1], images[:, None, 1, :3, :3].expand(3, 5, 3, 3)), "each channel from its own place"


@pytest.mark.parametrize(("gap", "jitter", "size"), [(0, 0, 12), (2, 1, 20), (1, 2, 23)])
def test_places_of_the_grid(gap, jitter, size):
    settings = patch_position.Settings(**{**OF_TILES, "gap": gap, "jitter": jitter, "size": size})
    top, left = tiles.places(settings, 500, gen())
    assert top.min() >= 0 and top.max() + 4 <= size and settings.extent <= size
    corners = torch.stack([top, left], 2).view(500, 3, 3, 2)
    below = corners[:, 1:, :, 0] - corners[:, :-1, :, 0] - 4
    assert below.min() == gap - 2 * jitter and below.max() == gap + 2 * jitter, "the gap, and the jitter of both"
    assert {int(v) for v in top[:, 0].unique()} == set(range(size - settings.extent + 2 * jitter + 1)), "every origin occurs"
    top, left = tiles.places(settings, 2, None)
    assert torch.equal(top[0], top[1]) and top[0, 0] == (size - settings.extent) // 2 + jitter and top[0, 3] - top[0, 0] == 4 + gap


def test_normalised_tiles():
    one = rand(4, 9, 3, 5, 5, dtype=torch.float64)
    found = tiles.normalised(one)
    assert found.mean((-2, -1)) == pytest.approx(0.5, abs=1e-12)
    assert (found - 0.5).square().mean((-3, -2, -1)).sqrt() == pytest.approx(0.25, abs=1e-12)
    torch.testing.assert_close(tiles.normalised(0.3 * one + 0.4), found, msg="brightness and contrast are gone")
    assert (tiles.normalised(torch.full((1, 3, 4, 4), 0.7)) == 0.5).all(), "a constant tile has no deviation to divide by"


@pytest.mark.parametrize("method", [patch_position, jigsaw])
def test_batches_of_tiles_are_faster_than_a_loop(method):
    """About ten times on a quiet core; what is asserted holds on a busy one too."""
    found = drawn(64, side=32)
    settings = method.Settings(batch_size=64, colour="kept", **({"gray": 0.0} if method is jigsaw else {}))
    pool = method.prepare(found, settings)
    arrays = found.images.numpy()

    def loop():
        draws, made = np.random.default_rng(0), []
        for image in arrays:
            image = image[:, :, ::-1] if draws.integers(2) else image
            for cell in range(9):
                y, x = (k * (settings.tile + settings.gap) + draws.integers(3) for k in divmod(cell, 3))
                tile = torch.from_numpy(image[:, y : y + 8, x : x + 8].copy()).float() / 255
                tile = tile - tile.mean((1, 2), keepdim=True)
                made.append(0.5 + tile / (4 * tile.std()))
        torch.stack(made)

    def ours():
        method.batch(pool, rng.Draws(), settings)

    assert times_as_fast(ours, loop) > 2


# --- patch position -------------------------------------------------------------------------------------------------------


def test_pairs_are_the_neighbours_of_the_centre_both_ways():
    chosen, labels = patch_position.pairs()
    assert len(chosen) == 16 and len(set(map(tuple, chosen.tolist()))) == 16
    where = {"top": -1, "above": -1, "bottom": 1, "below": 1}, {"left": -1, "right": 1}
    for (first, second), label in zip(chosen.tolist(), labels.tolist(), strict=True):
        assert tiles.CENTRE in (first, second)
        words = patch_position.PLACES[label].split()
        step = tuple(sum(kinds.get(word, 0) for word in words) for kinds in where)
        assert step == (second // 3 - first // 3, second % 3 - first % 3)


def test_the_loss_of_pairs_against_a_loop():
    logits, labels = rand(3, 4, 8, dtype=torch.float64), torch.tensor([1, 0, 7, 3])
    expected = [-math.log(logits[b, k, labels[k]].exp() / logits[b, k].exp().sum()) for b in range(3) for k in range(4)]
    assert patch_position.loss(logits, labels).item() == pytest.approx(sum(expected) / 12, abs=1e-12)
    assert patch_position.loss(logits, labels.expand(3, 4)).item() == pytest.approx(sum(expected) / 12, abs=1e-12)
    assert patch_position.loss(torch.zeros(2, 16, 8), torch.zeros(16, dtype=torch.long)).item() == pytest.approx(math.log(8))


def test_tiles_meet_behind_the_trunk_only():
    settings = METHODS[patch_position]
    model = patch_position.network(settings).eval()
    cut = rand(2, 9, 3, 4, 4)
    chosen, _ = patch_position.pairs()
    found = model(cut, chosen.expand(2, -1, -1))
    for b, k in itertools.product(range(2), range(16)):
        pair = [model.vector(model.features(cut[b, t][None])) for t in chosen[k]]
        torch.testing.assert_close(found[b, k], model.head(torch.cat(pair, 1))[0], atol=1e-5, rtol=1e-4)
    changed = cut.clone()
    changed[:, 3] = 0
    torch.testing.assert_close(model.embed(changed)[:, 4], model.embed(cut)[:, 4]), "a tile's vector is its own"


def test_the_networks_have_the_trunk_of_rotnet():
    """Blocks of 61,376, 535,680, 406,656 and 406,656 parameters, whatever the task."""
    for method in METHODS:
        network = method.network(method.Settings())
        assert [sum(p.numel() for p in block.parameters()) for block in network.blocks] == [61_376, 535_680, 406_656, 406_656]
        assert nin.trunk(network, 2)(torch.zeros(1, 3, 32, 32)).shape == (1, 192, 8, 8)


# --- jigsaw ---------------------------------------------------------------------------------------------------------------


def test_all_permutations_are_those_of_itertools():
    for count in (2, 3, 5):
        assert permutations.everything(count).tolist() == [list(p) for p in itertools.permutations(range(count))]
    assert len(permutations.everything(9)) == math.factorial(9)


@pytest.mark.parametrize("criterion", ["minimum", "sum"])
def test_greedy_sets_against_enumeration(criterion):
    found = permutations.greedy(9, 4, criterion=criterion, seed=3).tolist()
    everything = list(itertools.permutations(range(4)))
    assert len(set(map(tuple, found))) == 9
    for count in range(1, 9):
        chosen = found[:count]

        def worth(p, chosen=chosen):
            distances = [sum(a != b for a, b in zip(p, q, strict=True)) for q in chosen]
            return (sum(distances),) if criterion == "sum" else (min(distances), sum(distances))

        rest = [p for p in everything if list(p) not in chosen]
        assert worth(found[count]) == max(map(worth, rest))


def test_the_minimum_tells_sets_apart_and_the_mean_does_not():
    by_minimum, by_sum = (permutations.hamming(permutations.greedy(100, criterion=c)) for c in ("minimum", "sum"))
    most = 9 - 9 * (100 / 9 - 1) / 99
    assert by_minimum.float().mean() <= most + 1e-5 and by_sum.float().mean() == pytest.approx(most, abs=0.01)
    assert by_minimum.float().mean() > most - 0.02, "hardly less"
    assert by_minimum.min() >= 5 > 3 >= by_sum.min()
    affine = permutations.hamming(permutations.affine())
    assert len(affine) == 72 * 71 // 2 and affine.min() == 8 and affine.float().mean().item() == pytest.approx(8.1127, abs=1e-4)
    chance = permutations.hamming(permutations.random(300))
    assert chance.float().mean().item() == pytest.approx(8, abs=0.05)
    assert permutations.hamming(permutations.everything(4)).min() == 2


def test_hamming_against_a_loop():
    some = permutations.random(7, 5, seed=2).tolist()
    expected = [sum(a != b for a, b in zip(p, q, strict=True)) for i, p in enumerate(some) for q in some[i + 1 :]]
    assert permutations.hamming(torch.tensor(some)).tolist() == expected


def test_exchanging_vectors_is_exchanging_tiles():
    settings = METHODS[jigsaw]
    model = jigsaw.network(settings).eval()
    cut, labels = jigsaw.batch(jigsaw.prepare(drawn(), settings), rng.Draws(1, 2), settings)
    logits = model(cut, model.orders[labels])
    ordered = torch.arange(9).expand(6, 1, 9)
    for k in range(2):
        mixed = torch.stack([cut[b, model.orders[labels[b, k]]] for b in range(6)])
        torch.testing.assert_close(model(mixed, ordered)[:, 0], logits[:, k], atol=1e-5, rtol=1e-4)
    assert torch.equal(model.orders, permutations.greedy(5)) and "orders" in model.state_dict()


def test_channels_of_a_puzzle_are_shifted_and_some_are_gray():
    settings = jigsaw.Settings(**{**OF_TILES, "flip": False, "normalise": False, "jitter": 0, "gap": 2}, permutations=5, gray=1.0)
    pool = jigsaw.prepare(drawn(), settings)
    cut, _ = jigsaw.batch(pool, rng.Draws(0, 0), settings)
    assert torch.equal(cut[:, :, 0], cut[:, :, 2])
    shifted = jigsaw.Settings(**{**OF_TILES, "flip": False, "normalise": False}, permutations=5, gray=0.0, shift=1)
    alike = replace(drawn(), images=drawn().images[:, :1].expand(-1, 3, -1, -1).contiguous())
    cut, _ = jigsaw.batch(jigsaw.prepare(alike, shifted), rng.Draws(0, 0), shifted)
    assert not torch.equal(cut[:, :, 0], cut[:, :, 1]), "of gray images the channels differ by their shift only"


# --- lenses and noise -----------------------------------------------------------------------------------------------------


def test_projection_removes_the_axis_of_magenta_and_green():
    images = rand(2, 3, 4, 5, dtype=torch.float64)
    found = lens.projected(images)
    a = np.array([-1.0, 2, -1])
    matrix = np.eye(3) - np.outer(a, a) / 6
    np.testing.assert_allclose(found.permute(0, 2, 3, 1).numpy(), images.permute(0, 2, 3, 1).numpy() @ matrix, atol=1e-12)
    assert (found * torch.tensor(a).view(3, 1, 1)).sum(1).abs().max() < 1e-12
    fringed = torch.stack([images[:, 0], images[:, 1], images[:, 0]], 1)  # red and blue displaced alike
    found = lens.projected(fringed)
    for channel in range(3):
        torch.testing.assert_close(found[:, channel], (2 * fringed[:, 0] + fringed[:, 1]) / 3), "a gray image, without a fringe"


def test_dropping_keeps_one_channel_and_faint_noise():
    images = rand(200, 3, 8, 8)
    found = lens.dropped(images, gen())
    same = (found == images).flatten(2).all(2)
    assert (same.sum(1) == 1).all() and (same.float().mean(0) > 0.2).all(), "each of the channels in its turn"
    kept = images[same]
    others = found[~same].view(200, 2, 64)
    ratio = others.std(2) / kept.flatten(1).std(1, keepdim=True)
    assert ratio.mean().item() == pytest.approx(0.01, rel=0.05)


def test_a_lens_displaces_colours_about_the_middle():
    dot = torch.zeros(1, 3, 80, 80)
    dot[..., 38:42, 68:72] = 1  # right of the middle, by 30 pixels
    across = torch.arange(40.0)
    for factors, shifts in (((1.0, 1.0, 1.0), (0, 0, 0)), ((1.1, 1.0, 1.1), (1.5, 0, 1.5)), ((1.0, 1.05, 1.1), (0, 0.75, 1.5))):
        found = lens.aberrated(dot, factors).sum(2)[0]
        centre = (found * across).sum(1) / found.sum(1) - 34.5
        assert centre.tolist() == pytest.approx([s for s in shifts], abs=0.05), "from 15 output pixels off the middle"
    gray = pink_noise(1, 64, channels=3, gray=True)
    assert torch.equal(*lens.aberrated(to_float(gray.images), (1.02, 1.0, 1.02))[:, [0, 2]].transpose(0, 1))


def test_the_spectrum_of_pink_noise():
    for exponent in (0.0, 1.0):
        images = to_float(pink_noise(300, 64, exponent=exponent).images)[:, 0].double()
        assert images.mean().item() == pytest.approx(0.5, abs=0.02) and images.std().item() == pytest.approx(0.18, abs=0.02)
        window = torch.hann_window(64, periodic=False, dtype=torch.float64)  # cut-outs are not periodic
        power = torch.fft.rfft2((images - images.mean()) * window * window[:, None]).abs().square().mean(0)[0]
        slope = np.polyfit(np.log(np.arange(4, 24)), np.log(power[4:24].numpy()), 1)[0]
        assert slope == pytest.approx(-2 * exponent, abs=0.15)
    one, again, other = (pink_noise(2, 8, channels=3, seed=s) for s in (1, 1, 2))
    assert torch.equal(one.images, again.images) and not torch.equal(one.images, other.images) and "seed 1" in one.source
    assert one.images.shape == (2, 3, 8, 8) and one.labels is None and not torch.equal(one.images[:, 0], one.images[:, 1])


# --- contrastive views ----------------------------------------------------------------------------------------------------


def test_nt_xent_against_a_triple_loop():
    first, second = rand(5, 7, dtype=torch.float64) - 0.5, rand(5, 7, dtype=torch.float64, seed=2) - 0.5
    z, tau, total = torch.cat([first, second]).numpy(), 0.3, 0.0
    for i in range(10):
        numerator = denominator = 0.0
        for k in range(10):
            if k != i:
                dot = norm_i = norm_k = 0.0
                for a, b in zip(z[i], z[k], strict=True):
                    dot, norm_i, norm_k = dot + a * b, norm_i + a * a, norm_k + b * b
                score = math.exp(dot / math.sqrt(norm_i * norm_k) / tau)
                denominator += score
                numerator += score * (k == (i + 5) % 10)
        total -= math.log(numerator / denominator)
    assert contrastive.nt_xent(first, second, tau).item() == pytest.approx(total / 10, abs=1e-12)


def test_nt_xent_where_it_is_known():
    pair = torch.eye(2, dtype=torch.float64)
    assert contrastive.nt_xent(pair, pair, 0.5).item() == pytest.approx(math.log(1 + 2 * math.exp(-2)), abs=1e-12)
    for tau in (0.1, 0.5, 2.0):
        same = torch.ones(6, 3, dtype=torch.float64)
        assert contrastive.nt_xent(same, same, tau).item() == pytest.approx(math.log(11), abs=1e-12)
    assert contrastive.nt_xent(pair[:1], pair[1:], 0.5).item() == 0


def test_nt_xent_is_that_of_lightly():
    loss = pytest.importorskip("lightly.loss", reason="lightly is not installed")
    first, second = rand(8, 16, dtype=torch.float64), rand(8, 16, dtype=torch.float64, seed=2)
    theirs = loss.NTXentLoss(temperature=0.4)(first, second)
    assert contrastive.nt_xent(first, second, 0.4).item() == pytest.approx(theirs.item(), abs=1e-9)


def test_recoloured_images_against_a_loop():
    images = rand(6, 3, 4, 4, dtype=torch.float64)
    found = contrastive.recoloured(images, 0.5, 0.7, 0.3, gen(5))
    uniform = torch.rand(6, 6, 1, 1, 1, generator=gen(5)).double()
    weights = np.array([0.299, 0.587, 0.114])
    axis = np.ones(3) / math.sqrt(3)
    for i in range(6):
        u = [uniform[k, i].item() for k in range(6)]
        image = images[i].permute(1, 2, 0).numpy()
        if u[4] < 0.7:
            factors, angle = [1 + 0.4 * (2 * v - 1) for v in u[:3]], 2 * math.pi * 0.1 * (2 * u[3] - 1)
            changed = np.clip(image * factors[0], 0, 1)
            mean = (changed @ weights).mean()
            changed = np.clip(mean + factors[1] * (changed - mean), 0, 1)
            gray = (changed @ weights)[..., None]
            colour = changed - gray
            turned = (colour * math.cos(angle) + np.cross(axis, colour) * math.sin(angle)
                      + axis * (colour @ axis)[..., None] * (1 - math.cos(angle)))  # fmt: skip
            image = np.clip(gray + factors[2] * turned, 0, 1)
        if u[5] < 0.3:
            image = np.repeat((image @ weights)[..., None], 3, 2)
        np.testing.assert_allclose(found[i].permute(1, 2, 0).numpy(), image, atol=1e-6)
    assert torch.equal(contrastive.recoloured(images, 0.0, 0.0, 0.0, gen()), images)


def test_two_views_of_each_image():
    settings = replace(METHODS[contrastive], parts=False, colour=0.0, gray=0.0, flip=False)
    pool = contrastive.prepare(drawn(), settings)
    views = contrastive.batch(pool, rng.Draws(1, 3), settings)
    images = to_float(pool.images[pool.places(rng.Draws(1, 3), 6)])
    assert torch.equal(views, torch.cat([images, images])) and contrastive.partners(3).tolist() == [3, 4, 5, 0, 1, 2]
    views = contrastive.batch(pool, rng.Draws(1, 3), METHODS[contrastive])
    assert views.shape == (12, 3, 16, 16) and not torch.equal(views[:6], views[6:]) and 0 <= views.min() <= views.max() <= 1


def test_batches_of_views_are_faster_than_a_loop():
    """Against torchvision, image by image: about eleven times on a quiet core."""
    from torchvision.transforms import v2

    found = drawn(64, side=32)
    settings = contrastive.Settings(batch_size=64)
    pool = contrastive.prepare(found, settings)
    theirs = v2.Compose([
        v2.RandomResizedCrop(32, (0.08, 1), antialias=False), v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8), v2.RandomGrayscale(0.2),
    ])  # fmt: skip

    def ours():
        contrastive.batch(pool, rng.Draws(), settings)

    def loop():
        torch.stack([theirs(image) for image in to_float(found.images) for _ in range(2)])

    assert times_as_fast(ours, loop) > 2


# --- reconstruction -------------------------------------------------------------------------------------------------------


def test_holes_are_four_blocks_of_at_most_a_quarter():
    holes = autoencoder.blocks(4000, 32, gen())
    share = holes.float().mean((1, 2, 3))
    assert holes.shape == (4000, 1, 32, 32) and share.min() > 0 and share.max() <= 0.25
    assert holes.any(0).all(), "a hole can be anywhere"
    central = autoencoder.central(2, 16)
    assert central.sum((1, 2, 3)).tolist() == [64, 64] and central[0, 0, 4:12, 4:12].all()
    images = rand(2, 3, 16, 16)
    filled = autoencoder.filled(images, central)
    assert torch.equal(filled.masked_select(~central), images.masked_select(~central))
    assert filled[0, :, 6, 6].tolist() == pytest.approx([v / 255 for v in nin.MEAN])


def test_the_loss_of_the_pixels_that_count_against_a_loop():
    estimate, images = rand(2, 3, 4, 4, dtype=torch.float64), rand(2, 3, 4, 4, dtype=torch.float64, seed=2)
    counted = rand(2, 1, 4, 4) < 0.4
    errors = [(estimate[b, c, h, w] - images[b, c, h, w]).item() ** 2
              for b, c, h, w in itertools.product(range(2), range(3), range(4), range(4)) if counted[b, 0, h, w]]  # fmt: skip
    assert autoencoder.loss(estimate, images, counted).item() == pytest.approx(sum(errors) / len(errors), abs=1e-12)
    assert autoencoder.loss(estimate, images, torch.zeros_like(counted)) == 0


@pytest.mark.parametrize("task", ["autoencoder", "denoising", "inpainting"])
def test_what_is_given_and_what_counts(task):
    settings = autoencoder.Settings(**NET, size=16, code=6, padding=0, flip=False, task=task)
    pool = autoencoder.prepare(drawn(), settings)
    given, images, counted = autoencoder.batch(pool, rng.Draws(1, 3), settings)
    assert torch.equal(images, to_float(pool.images[pool.places(rng.Draws(1, 3), 6)]))
    if task == "autoencoder":
        assert torch.equal(given, images) and counted.all()
    elif task == "denoising":
        assert (given - images).std().item() == pytest.approx(0.2, rel=0.1) and counted.all()
    else:
        assert torch.equal(given, autoencoder.filled(images, counted)) and 0 < counted.float().mean() < 0.25


# --- colourisation --------------------------------------------------------------------------------------------------------


def test_lab_is_that_of_scikit_image_and_back():
    from skimage import color

    images = rand(2, 3, 20, 20, dtype=torch.float64) ** 2
    theirs = np.stack([color.rgb2lab(image.permute(1, 2, 0).numpy()).transpose(2, 0, 1) for image in images])
    np.testing.assert_allclose(colourisation.lab(images).numpy(), theirs, atol=2e-3)
    torch.testing.assert_close(colourisation.srgb(colourisation.lab(images)), images, atol=2e-4, rtol=0)
    ends = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    assert colourisation.lab(ends).flatten(1)[:, 0].tolist() == pytest.approx([0, 100], abs=1e-3)


def test_bins_are_those_of_the_colours_of_a_screen():
    centres = colourisation.bins()
    assert len(centres.unique(dim=0)) == len(centres) and not (centres % 10).any()
    found = colourisation.lab(rand(1, 3, 100, 100, seed=3))[0, 1:].flatten(1).T
    assert torch.cdist(found, centres).amin(1).max() <= math.hypot(5, 5) + 1e-4, "every colour is in a bin"
    images = torch.cat([torch.full((len(centres), 1), 50.0), centres], 1).view(-1, 3, 1, 1)
    inside = (colourisation.lab(colourisation.srgb(images))[:, 1:, 0, 0] - centres).abs().amax(1) < 1
    assert 100 < inside.sum() < len(centres), "not all of them at one brightness"


def test_soft_targets_against_a_loop():
    centres, ab = colourisation.bins().double(), 40 * rand(6, 2, dtype=torch.float64) - 20
    nearest, share = colourisation.soft_targets(ab, centres)
    for n in range(6):
        distances = sorted((math.dist(ab[n].tolist(), c.tolist()), q) for q, c in enumerate(centres))[:5]
        assert {q for _, q in distances} == set(nearest[n].tolist()) and distances[0][1] == nearest[n, 0]
        parts = [math.exp(-(d**2) / 50) for d, _ in distances]
        assert share[n].tolist() == pytest.approx([p / sum(parts) for p in parts], abs=1e-9)


def test_rebalancing_against_a_loop():
    frequency = torch.tensor([0.7, 0.2, 0.1, 0.0], dtype=torch.float64)
    weight = colourisation.rebalancing(frequency, 0.5)
    plain = [1 / (0.5 * p + 0.5 / 3) if p else 0 for p in frequency.tolist()]
    mean = sum(p * w for p, w in zip(frequency.tolist(), plain, strict=True))
    assert weight.tolist() == pytest.approx([w / mean for w in plain], abs=1e-12)
    assert (frequency * weight).sum().item() == pytest.approx(1) and weight[3] == 0 and weight[2] > weight[0]
    assert colourisation.rebalancing(frequency, 1.0)[:3].tolist() == pytest.approx([1, 1, 1]), "a uniform one changes nothing"


def test_the_loss_of_colours_against_a_loop():
    centres, weights = colourisation.bins().double(), rand(len(colourisation.bins()), dtype=torch.float64)
    logits, ab = rand(3, len(centres), 2, 2, dtype=torch.float64), 60 * rand(3, 2, 2, 2, dtype=torch.float64) - 30
    ab[1] = 3.0  # a gray image, which does not count
    total = 0.0
    for b, y, x in itertools.product((0, 2), range(2), range(2)):
        nearest, share = colourisation.soft_targets(ab[b, :, y, x][None], centres)
        log = logits[b, :, y, x].log_softmax(0)
        total -= weights[nearest[0, 0]] * sum(s * log[q] for q, s in zip(nearest[0], share[0], strict=True))
    assert colourisation.loss(logits, ab, centres, weights).item() == pytest.approx(total.item() / 12, abs=1e-9)


def test_the_annealed_mean_lies_between_the_mean_and_the_mode():
    centres = torch.tensor([[60.0, 40.0], [20.0, -60.0]])
    logits = torch.tensor([0.6, 0.4]).log().view(1, 2, 1, 1)
    for temperature, expected in ((1.0, 0.6), (0.38, 1 / (1 + (2 / 3) ** (1 / 0.38))), (0.01, 1.0)):
        colour = colourisation.annealed_mean(logits, centres, temperature).flatten()
        torch.testing.assert_close(colour, expected * centres[0] + (1 - expected) * centres[1], atol=1e-3, rtol=0)


def test_a_network_takes_its_weights_from_the_images_and_sees_no_colour():
    settings, found = METHODS[colourisation], drawn()
    model, pool = colourisation.network(settings), colourisation.prepare(found, settings)
    colourisation.before_training(model, pool, settings)
    ab = colourisation.parts(to_float(found.images)).permute(0, 2, 3, 1).reshape(-1, 2)
    nearest, share = colourisation.soft_targets(ab, model.centres)
    frequency = torch.zeros(len(model.centres))
    for bins, parts in zip(nearest.tolist(), share.tolist(), strict=True):
        for q, p in zip(bins, parts, strict=True):
            frequency[q] += p / len(ab)
    torch.testing.assert_close(model.weights, colourisation.rebalancing(frequency, 0.5), atol=1e-2, rtol=1e-3)
    gray, _ = colourisation.batch(pool, rng.Draws(), settings)
    assert torch.equal(gray[:, 0], gray[:, 1]) and torch.equal(gray[:, 0], gray[:, 2])


# --- exemplar -------------------------------------------------------------------------------------------------------------


def test_surrogate_classes_are_images_with_edges():
    found = drawn(40)
    images = found.images.clone()
    images[::2] = 128
    settings = METHODS[exemplar]
    pool = exemplar.prepare(replace(found, images=images), settings, seed=3)
    assert pool.labels.tolist() == list(range(8)) and exemplar.gradients(pool.images).min() > 0, "bare walls are never drawn"
    assert not torch.equal(pool.images, exemplar.prepare(replace(found, images=images), settings, seed=4).images)
    image = images[1].double() / 255
    slope = ((image[:, 1:] - image[:, :-1]) ** 2).mean() + ((image[..., 1:] - image[..., :-1]) ** 2).mean()
    assert exemplar.gradients(images[1:2]).item() == pytest.approx(slope.item(), rel=1e-5)


def test_movements_of_an_exemplar():
    images = to_float(drawn(4, side=16).images)
    still = replace(METHODS[exemplar], shift=0.0, smallest=1.0, largest=1.0, angle=0.0)
    torch.testing.assert_close(exemplar.moved(images, still, gen()), images, atol=1e-5, rtol=0)
    dot = torch.zeros(300, 1, 33, 33)
    dot[..., 15:18, 15:18] = 1
    shifted = exemplar.moved(dot, replace(still, shift=0.2), gen())[:, 0]
    at = torch.arange(33.0)
    column = (shifted.sum(1) * at).sum(1) / shifted.sum((1, 2)) - 16
    assert column.abs().max() <= 0.2 * 33 + 0.1 and column.min() < -5 and column.max() > 5
    large = exemplar.moved(dot, replace(still, largest=1.4, smallest=1.4), gen())
    assert large.sum((1, 2, 3)).mean().item() == pytest.approx(9 * 1.4**2, rel=0.05), "enlarged, not shrunk"


# --- every method ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__.rpartition(".")[2])
def test_it_trains_and_resumes_bit_for_bit(method, tmp_path):
    settings, found = METHODS[method], drawn()
    pool = method.prepare(found, settings)
    whole = method.network(settings, seed=1)
    training.fit(whole, pool, method, settings, seed=1, progress=False)
    part, file = method.network(settings, seed=1), tmp_path / "part.ckpt"
    stop = iter([False, True])
    training.fit(part, pool, method, replace(settings, log_every=1), seed=1, progress=False, checkpoint=file, pause=lambda: next(stop))
    rest = method.network(settings, seed=1)
    training.fit(rest, pool, method, replace(settings, log_every=1), seed=1, progress=False, checkpoint=file, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), rest.state_dict().values(), strict=True))
    inputs = method.batch(pool, rng.Draws(), settings)
    seen = (inputs,) if method is contrastive else inputs[:1]
    if method in (patch_position, jigsaw):
        seen = (inputs[0], inputs[1] if method is patch_position else rest.orders[inputs[1]])
    compiled = torch.compile(rest, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*seen), rest(*seen))


@pytest.mark.parametrize(
    ("method", "changes"),
    [(patch_position, {}), (patch_position, {"colour": "dropped"}), (jigsaw, {}), (jigsaw, {"colour": "projected"}), (colourisation, {}),
     *((autoencoder, {"task": task}) for task in ("autoencoder", "denoising", "inpainting"))],
)  # fmt: skip
def test_the_figure_of_an_image_is_its_own(method, changes):
    settings = replace(METHODS[method], **changes)
    model, images = method.network(settings).eval(), drawn().images
    everything = method.evaluate(model, images, settings)
    assert len(everything) == 10 and np.isfinite(everything).all()
    assert method.evaluate(model, images, settings, indices=[7, 2]) == pytest.approx([everything[7], everything[2]], abs=1e-4)
    assert method.evaluate(model, images, settings, indices=[]) == []


def test_evaluation_of_places_against_a_loop():
    settings = METHODS[patch_position]
    model, images = patch_position.network(settings).eval(), drawn().images
    expected = []
    for image in images:
        cut = tiles.of_test(image[None], settings)
        hits = [model(cut, torch.tensor([[[4, t]]])).argmax().item() == k for k, t in enumerate((0, 1, 2, 3, 5, 6, 7, 8))]
        expected.append(100 * sum(hits) / 8)
    assert patch_position.evaluate(model, images, settings) == pytest.approx(expected)


def test_patch_position_learns_a_slope():
    """Images that are bright above and to the left: without normalisation every place can be told, with it hardly any."""
    down, across = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    grain = torch.randint(0, 9, (40, 3, 16, 16), generator=gen())
    found = replace(drawn(40), images=(230 - 8 * down - 6 * across + grain).to(torch.uint8))
    reached = {}
    for normalise in (False, True):
        settings = patch_position.Settings(
            **{**OF_TILES, "steps": 80, "batch_size": 10, "normalise": normalise, "flip": False, "schedule": "cosine"}
        )
        model = patch_position.network(settings)
        training.fit(model, patch_position.prepare(found, settings), patch_position, settings, progress=False)
        reached[normalise] = np.mean(patch_position.evaluate(model, found.images, settings))
    assert reached[False] > 80 > 30 > reached[True]


# --- recipes --------------------------------------------------------------------------------------------------------------

TASKS = [name for name in pretext_tasks.RECIPES if recipes.RECIPES[name].ships]


def tiny(name, split, **more):
    labels = torch.arange(20) % 10
    images = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=gen(len(split)))
    return Dataset(name, images, "drawn", tuple(map(str, range(20))), labels, tuple("abcdefghij"))


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("preset", ["quick", "paper", "jpeg"])
def test_recipes_train_and_are_measured(name, preset, monkeypatch, tmp_path):
    monkeypatch.setattr(data, "load", lambda asked, split=None, **how: tiny(asked, split))
    found, chosen = recipes.find(name, preset)
    changes = {"width": "4", "blocks": "2", "batch_size": "4", "steps": "2", "precision": "32-true"}
    changes |= {"classes": "16"} if name == "exemplar" else {}
    model, *_ = runs.train(name, preset, changes=changes, checkpoint=tmp_path / "run.ckpt")
    for asked, benchmark in chosen.tests.items():
        figures = benchmark.figures(tiny(asked, "test"), found.folded(model), count=4)
        assert {"knn_block1", "knn_block2"} <= set(figures) and all(len(values) == 4 for values in figures.values())


def test_tasks_differ_in_their_head_and_nothing_else():
    """The same trunk, number of steps and probe as RotNet."""
    rotnet, its_probe = recipes.RECIPES["rotnet"], recipes.RECIPES["rotnet_block2"]
    for name, preset in itertools.product(TASKS, ("paper", "jpeg")):
        plan, theirs = recipes.RECIPES[name].presets[preset].settings, rotnet.presets[preset].settings
        for setting in ("steps", "blocks", "width", "initial_gamma"):
            assert getattr(plan, setting) == getattr(theirs, setting)
        probe = recipes.RECIPES[f"{name}_block2"].presets[preset]
        assert probe.settings == its_probe.presets[preset].settings and probe.needs["trunk"].recipe == name
        assert recipes.RECIPES[f"{name}_block2"].method is probes


# --- wrong input ----------------------------------------------------------------------------------------------------------

PLAN, PUZZLE, AE = METHODS[patch_position], METHODS[jigsaw], METHODS[autoencoder]
PATCHES = patch_position.network(PLAN).eval()
SOME = torch.zeros(2, 3, dtype=torch.long)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: patch_position.Settings(tile=12), r"3 × 3 tiles of 12 pixels with gaps of 3 .* take 44 pixels, but images have 32"),
        (lambda: patch_position.Settings(tile=0), "tile = 0, but it must be at least 1"),
        (lambda: patch_position.Settings(gap=-1), "gap = -1, but it must be at least 0"),
        (lambda: patch_position.Settings(padding=4), "the black frame of a random crop tells a tile's place"),
        (lambda: patch_position.Settings(colour="blue"), 'colour = "blue", but it must be one of kept, gray, projected, dropped'),
        (lambda: patch_position.Settings(channels=1), 'colour = "dropped" is for images in colour, but channels = 1'),
        (lambda: patch_position.prepare(drawn(channels=1), PLAN), r"images are \(1, 16, 16\), but channels = 3, size = 16"),
        (lambda: patch_position.evaluate(PATCHES, drawn(side=20).images, PLAN), r"images are \(3, 20, 20\), but channels = 3, size = 16"),
        (lambda: patch_position.evaluate(PATCHES, drawn().images, PLAN, indices=[10]), "indices has 10 in it, but there are 10"),
        (lambda: tiles.cut(rand(2, 3, 8, 8), SOME + 5, SOME, 4), "top is 5 to 5, but a tile of 4 pixels begins at 0 to 4"),
        (lambda: tiles.cut(rand(2, 3, 8, 8), SOME, SOME - 1, 4), "left is -1 to -1"),
        (lambda: tiles.cut(rand(2, 3, 8, 8), SOME[0], SOME[0], 4), r"top is \(3,\), but \(B, T\) or \(B, T, C\) is expected for 2 images"),
        (lambda: tiles.cut(rand(2, 3, 8, 8), SOME, SOME, 9), "tile = 9, but it must lie in 1 to 8"),
        (lambda: tiles.normalised(rand(4, 4)), r"\(…, C, h, w\) is expected"),
        (lambda: jigsaw.Settings(permutations=1), "permutations = 1, but it must be at least 2"),
        (lambda: jigsaw.Settings(gray=1.5), "gray = 1.5, but it is a share in 0 to 1"),
        (lambda: jigsaw.Settings(channels=1), "gray = 0.3, .* 0 for channels = 1"),
        (lambda: jigsaw.Settings(shift=2), "shift = 2, but channels stay within their cell: at most the jitter, 1"),
        (lambda: permutations.greedy(25, 4), "count = 25, but it must lie in 1 to 24"),
        (lambda: permutations.greedy(5, 10), "tiles = 10, but it must lie in 2 to 9"),
        (lambda: permutations.greedy(5, criterion="mean"), 'criterion = "mean", but it must be one of minimum, sum'),
        (lambda: permutations.hamming(torch.tensor([[0, 1, 1], [0, 1, 2]])), r"row 0 is \[0, 1, 1\], which is no order of 0 to 2"),
        (lambda: permutations.hamming(torch.tensor([[0, 1]])), "at least two are needed"),
        (lambda: lens.projected(rand(2, 1, 8, 8)), "images have 1 channels, but colours are three"),
        (lambda: lens.dropped(rand(2, 1, 8, 8), gen()), "images have 1 channels"),
        (lambda: lens.gray(255 * rand(2, 3, 8, 8)), "divide them by 255"),
        (lambda: lens.aberrated(rand(2, 3, 8, 9)), "even sides are needed"),
        (lambda: lens.aberrated(rand(2, 3, 8, 8), (1, 1)), "three numbers are expected"),
        (lambda: lens.aberrated(rand(2, 3, 8, 8), (1, 0, 1)), "magnification = 0, but it must be above 0 and below 100"),
        (lambda: pink_noise(0, 8), "count = 0"),
        (lambda: pink_noise(1, 8, exponent=-1), "exponent = -1"),
        (lambda: contrastive.Settings(temperature=0.0), "temperature = 0.0, but it must be positive"),
        (lambda: contrastive.Settings(gray=2.0), "gray = 2.0, but it must lie in 0 to 1"),
        (lambda: contrastive.Settings(channels=1), "images without colours have none to change"),
        (lambda: contrastive.Settings(batch_size=1), "batch_size = 1, but it must be at least 2"),
        (lambda: contrastive.Settings(padding=4), "padding = 4: the views are parts of the image already"),
        (lambda: contrastive.nt_xent(rand(3, 4), rand(2, 4), 0.5), r"first \(3, 4\) and second \(2, 4\) differ: each image has two views"),
        (lambda: contrastive.nt_xent(rand(3, 4), rand(3, 4), 0), "temperature = 0, but it must be above 0"),
        (lambda: contrastive.recoloured(rand(2, 1, 8, 8), 0.5, 1.0, 0.2, gen()), "images have 1 channels"),
        (lambda: contrastive.recoloured(rand(2, 3, 8, 8), 2, 1.0, 0.2, gen()), "strength = 2, but it must lie in 0 to 1"),
        (lambda: contrastive.prepare(drawn(side=20), METHODS[contrastive]), r"images are \(3, 20, 20\), but channels = 3, size = 16"),
        (lambda: autoencoder.Settings(task="painting"), 'task = "painting", but it must be one of autoencoder, denoising, inpainting'),
        (lambda: autoencoder.Settings(size=30), "size = 30: it must be a multiple of 4"),
        (lambda: autoencoder.Settings(code=0), "code = 0, but it must be at least 1"),
        (lambda: autoencoder.filled(rand(2, 3, 8, 8), torch.zeros(2, 1, 4, 4, dtype=torch.bool)), r"holes \(2, 1, 4, 4\) do not fit"),
        (lambda: autoencoder.loss(rand(2, 3, 8, 8), rand(2, 3, 8, 8), torch.zeros(2, 1, 4, 4, dtype=torch.bool)), "do not fit"),
        (lambda: autoencoder.blocks(1, 4, gen()), "size = 4, but it must be at least 8"),
        (lambda: colourisation.Settings(channels=1), "channels = 1: colours cannot be learnt from gray images"),
        (lambda: colourisation.Settings(size=30), "size = 30: it must be a multiple of 4"),
        (lambda: colourisation.Settings(uniform=2.0), "uniform = 2, but it must lie in 0 to 1"),
        (lambda: colourisation.Settings(temperature=0.0), "temperature = 0, but it must be above 0"),
        (lambda: colourisation.lab(rand(2, 1, 8, 8)), "images have 1 channels, but colours are three"),
        (lambda: colourisation.srgb(rand(2, 1, 8, 8)), "but L, a and b are three"),
        (lambda: colourisation.soft_targets(rand(3, 3), colourisation.bins()), r"ab is \(3, 3\), but \(N, 2\) is expected"),
        (lambda: colourisation.rebalancing(torch.tensor([0.5, 0.6]), 0.5), "frequency has the sum 1.1"),
        (lambda: colourisation.annealed_mean(rand(1, 4, 2, 2), colourisation.bins(), 0.4), "do not fit"),
        (lambda: colourisation.annealed_mean(rand(1, 4, 2, 2), rand(4, 2), 0), "temperature = 0, but it must be above 0"),
        (lambda: colourisation.prepare(drawn(channels=1), METHODS[colourisation]), r"images are \(1, 16, 16\), but channels = 3"),
        (lambda: exemplar.Settings(classes=1), "classes = 1, but it must be at least 2"),
        (lambda: exemplar.Settings(smallest=2.0), "smallest = 2.0, largest = 1.4: factors of the size are positive"),
        (lambda: exemplar.Settings(padding=4), "padding = 4: images are moved already"),
        (lambda: exemplar.Settings(channels=1), "images without colours have none to change"),
        (lambda: exemplar.prepare(drawn(5), METHODS[exemplar]), "classes = 8, but there are 5 images"),
        (lambda: exemplar.prepare(drawn(side=20), METHODS[exemplar]), r"images are \(3, 20, 20\), but channels = 3, size = 16"),
        (lambda: autoencoder.evaluate(autoencoder.network(AE).eval(), drawn().images[0], AE), r"\(N, C, H, W\) is expected"),
        (lambda: tiles.of_test(drawn(4).images, PLAN, [0, 1]), "there are 2 numbers for 4 images: give one for each"),
    ],
)
def test_wrong_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tiles.cut(rand(2, 3, 8, 8), SOME.float(), SOME, 4), "top: a tensor of integers is expected"),
        (lambda: tiles.of_test(rand(2, 3, 16, 16), PLAN), "8-bit numbers"),
        (lambda: lens.projected(to_uint8(rand(2, 3, 8, 8))), "uint8, but must be floating point"),
        (lambda: permutations.hamming(rand(3, 3)), "a tensor of integers is expected"),
        (lambda: contrastive.nt_xent(SOME, SOME, 0.5), "floating-point numbers is expected"),
        (lambda: autoencoder.filled(rand(2, 3, 8, 8), rand(2, 1, 8, 8)), "a tensor of booleans is expected"),
        (lambda: jigsaw.prepare(replace(drawn(), images=rand(2, 3, 16, 16)), PUZZLE), "8-bit numbers"),
    ],
)
def test_wrong_types(call, message):
    with pytest.raises(TypeError, match=message):
        call()
