"""Blind-spot networks: the Jacobian's diagonal is exactly zero, the rest of it is not, and no centre weight is anywhere."""

import io

import pytest
import torch

from course_lib.self_supervised_denoising import blind_spot, noise2noise
from course_lib.self_supervised_denoising.blind_spot import Dilated, HalfPlane, WithoutCentre


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def with_biases(model, seed=0):
    """As after a training: no bias is zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1, generator=seeded(seed))
    return model.double()


def jacobian(network, side):
    """(output pixel, input pixel) of a gray network, at random input."""
    image = torch.rand(1, 1, side, side, generator=seeded(1), dtype=torch.float64)
    made = torch.autograd.functional.jacobian(lambda x: network(x)[:, :1], image, vectorize=True)
    return made.reshape(side * side, side * side)


NETWORKS = {
    "dilated": (lambda: Dilated(width=24, modules=2, channels=1), 11),
    "dilated, deep": (lambda: Dilated(width=16, modules=9, channels=1), 9),
    "half-plane": (lambda: HalfPlane(width=6, depth=2, channels=1), 12),
    "half-plane, deep": (lambda: HalfPlane(width=2, depth=4, channels=1), 16),
    "half-plane, mean and variance": (lambda: HalfPlane(width=2, depth=1, channels=1, outputs=2), 8),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_diagonal_of_the_jacobian_is_exactly_zero(name):
    make, side = NETWORKS[name]
    found = jacobian(with_biases(make()), side)
    assert (found.diagonal() == 0).all()
    assert (found != 0).any(1).all(), "every output pixel looks at some others"
    middle = found[side * side // 2 + side // 2].view(side, side)
    seen = middle.nonzero()
    assert (seen.min(0).values < side // 2).all() and (seen.max(0).values > side // 2).all(), "on all sides"


def test_a_network_of_noise2void_sees_the_centre():
    plan = noise2noise.Settings(depth=2, width=6, channels=1, patch_size=16)
    found = jacobian(with_biases(noise2noise.UNet(plan)), 8)
    assert (found.diagonal() != 0).all()


def test_one_branch_sees_only_the_rows_above():
    network, side = with_biases(HalfPlane(width=3, depth=2, channels=1)), 16
    found = torch.autograd.functional.jacobian(
        lambda x: network.branch(x).sum(1, keepdim=True), torch.rand(1, 1, side, side, generator=seeded(1), dtype=torch.float64),
        vectorize=True,
    ).reshape(side, side, side, side)
    for row in range(side):
        assert (found[row, :, row:] == 0).all()
        assert row == 0 or (found[row, :, :row] != 0).any()


def test_turning_the_input_turns_what_the_branches_see():
    """The four rotations share one branch: the features of a turned image are those of the image, turned and in another order."""
    network = with_biases(HalfPlane(width=3, depth=2, channels=1))
    image = torch.rand(1, 1, 16, 16, generator=seeded(), dtype=torch.float64)
    above = network.branch(torch.rot90(image, 1, (2, 3)))
    assert torch.equal(network.branch(torch.cat([image, torch.rot90(image, 1, (2, 3))]))[1:], above)


# --- the missing centre -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 5])
def test_a_convolution_without_centre_by_hand(size):
    layer = WithoutCentre(2, 3, size).double()
    with torch.no_grad():
        layer.weight.normal_(generator=seeded())
        layer.bias.normal_(generator=seeded(1))
    image = torch.rand(1, 2, 6, 7, generator=seeded(2), dtype=torch.float64)
    made, reach = layer(image), size // 2
    for o in range(3):
        for y in range(6):
            for x in range(7):
                total, tap = layer.bias[o].item(), 0
                for i in range(-reach, reach + 1):
                    for j in range(-reach, reach + 1):
                        if i == j == 0:
                            continue
                        if 0 <= y + i < 6 and 0 <= x + j < 7:
                            total += sum(layer.weight[o, c, tap].item() * image[0, c, y + i, x + j].item() for c in range(2))
                        tap += 1
                assert made[0, o, y, x].item() == pytest.approx(total, abs=1e-12)


def test_the_centre_is_no_parameter_and_in_no_checkpoint():
    network = Dilated(width=6, modules=1, channels=1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.rand(2, 1, 12, 12, generator=seeded())).square().mean().backward()
        optimizer.step()
    masked = [layer for layer in network.modules() if isinstance(layer, WithoutCentre)]
    assert [tuple(layer.weight.shape) for layer in masked] == [(6, 6, 8), (6, 6, 24)]
    for layer in masked:
        centre = layer.kernel()[:, :, layer.size // 2, layer.size // 2]
        assert (centre == 0).all() and optimizer.state[layer.weight]["exp_avg"].shape == layer.weight.shape
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    again = Dilated(width=6, modules=1, channels=1, seed=1)
    again.load_state_dict(torch.load(file, weights_only=True))
    assert (jacobian(again.double(), 9).diagonal() == 0).all()
    exported = torch.export.export(network.double().eval(), (torch.rand(1, 1, 9, 9, dtype=torch.float64),))
    assert {tuple(t.shape) for t in exported.state_dict.values() if t.dim() == 3} == {(6, 6, 8), (6, 6, 24)}
    assert (jacobian(exported.module(), 9).diagonal() == 0).all()


def test_parameters_of_the_paper():
    count = sum(p.numel() for p in Dilated().parameters())
    assert count + 2 * 128 * 128 == 3_656_131, "with the two centres that the paper masks"


@pytest.mark.parametrize(("modules", "reach"), [(1, (3, 5)), (3, (7, 11)), (9, (19, 29))])
def test_how_far_the_branches_look(modules, reach):
    network = with_biases(Dilated(width=2, modules=modules, channels=1))
    side = 2 * reach[1] + 5
    for branch, expected in zip(network.branches, reach, strict=True):
        with torch.no_grad():
            for parameter in branch.parameters():
                parameter.abs_()  # so that nothing cancels, and no rectifier blocks
        features = torch.rand(1, 2, side, side, generator=seeded(), dtype=torch.float64, requires_grad=True)
        branch(features)[0, :, side // 2, side // 2].sum().backward()
        seen = features.grad.abs().sum((0, 1)).nonzero()
        assert int(seen.max() - seen.min()) == 2 * expected


# --- any size, and wrong input ------------------------------------------------------------------------------------------------

BOTH = {
    "dilated": lambda channels: Dilated(width=4, modules=1, channels=channels),
    "half-plane": lambda channels: HalfPlane(width=3, depth=2, channels=channels),
}


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("size", [(1, 1), (7, 12), (16, 9)])
def test_any_size(kind, size):
    network = BOTH[kind](3)
    noisy = torch.rand(2, 3, *size, generator=seeded())
    assert network.eval().denoise(noisy).shape == noisy.shape
    with pytest.raises(ValueError, match="this network was made for 3"):
        network.denoise(noisy[:, :1])
    with pytest.raises(TypeError, match="batches.to_float makes them of 8-bit images"):
        network.denoise((255 * noisy).to(torch.uint8))


@pytest.mark.parametrize("size", [(8, 16), (12, 8), (8, 8)])
def test_half_plane_of_images_that_lie_or_stand(size):
    """It is the branch of each turn by itself, and as blind as that of a square."""
    network = HalfPlane(width=3, depth=2, channels=1).double()
    noisy = torch.rand(1, 1, *size, generator=seeded(), dtype=torch.float64)
    turns = [torch.rot90(network.branch(torch.rot90(noisy - 0.5, k, (2, 3))), -k, (2, 3)) for k in range(4)]
    assert torch.allclose(network(noisy), network.combine(torch.cat(turns, dim=1)) + 0.5, atol=1e-12)
    jacobian = torch.autograd.functional.jacobian(network, noisy).reshape(noisy.numel(), -1)
    assert torch.count_nonzero(jacobian.diagonal()) == 0 and torch.count_nonzero(jacobian) > noisy.numel()


@pytest.mark.parametrize("kind", BOTH)
def test_compile(kind):
    network, noisy = BOTH[kind](1), torch.rand(1, 1, 16, 16, generator=seeded())
    assert torch.allclose(torch.compile(network, fullgraph=True, backend="eager")(noisy), network(noisy))


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda: Dilated(width=1), "width = 1"), (lambda: Dilated(modules=0), "modules = 0"), (lambda: Dilated(channels=2), "channels = 2"),
     (lambda: HalfPlane(depth=0), "depth = 0"), (lambda: HalfPlane(channels=4), "channels = 4"),
     (lambda: WithoutCentre(1, 1, 4), "size = 4"),
     (lambda: blind_spot.WithoutCentre(1, 1, 1), "size = 1: a kernel with a centre to leave out has an odd side of at least 3")],
)  # fmt: skip
def test_networks_that_there_are_not(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("seed", range(3))
def test_a_deep_network_starts_on_the_scale_of_its_image(seed):
    """Modules with weights of variance 2 / inputs throughout triple what they get: nine of them begin at a hundred times the image."""
    noisy = torch.rand(1, 1, 48, 48, generator=seeded(seed))
    for modules in (1, 9):
        with torch.no_grad():
            assert 0.01 < Dilated(width=64, modules=modules, channels=1, seed=seed)(noisy).square().mean().sqrt() < 3
