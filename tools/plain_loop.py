"""Networks of four chapters trained as public code usually does it, for `course bench` to compare with: written here, in that style.

A data set that crops, turns and makes noise for one patch at a time, or masks it pixel by pixel, a data loader with worker processes,
float32, PyTorch's default memory layout, and a loss that is fetched in every step.
"""

import time

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Patches(Dataset):
    """``length`` random (noisy, clean) patches of gray uint8 images ``(1, H, W)``."""

    def __init__(self, images, patch_size, sigma, length):
        self.images = [image[0].numpy() for image in images]
        self.patch_size, self.sigma, self.length = patch_size, sigma, length

    def __len__(self):
        return self.length

    def cut(self, draw):
        """A random patch, turned and mirrored at random."""
        image = self.images[draw.integers(len(self.images))]
        top, left = (draw.integers(side - self.patch_size + 1) for side in image.shape)
        patch = image[top : top + self.patch_size, left : left + self.patch_size]
        patch = np.rot90(patch, draw.integers(4))
        return np.fliplr(patch) if draw.integers(2) else patch

    def __getitem__(self, index):
        draw = np.random.default_rng(index)
        clean = np.ascontiguousarray(self.cut(draw), dtype=np.float32) / 255
        noisy = clean + self.sigma * draw.standard_normal(clean.shape, dtype=np.float32)
        return torch.from_numpy(noisy)[None], torch.from_numpy(clean)[None]


def masked(patch, side, radius, draw):
    """A copy of a patch ``(H, W)`` with one pixel of each box replaced by one of its neighbourhood, and the mask: a loop over boxes."""
    made, mask = patch.copy(), np.zeros_like(patch)
    for top in range(0, patch.shape[0], side):
        for left in range(0, patch.shape[1], side):
            y, x = top + draw.integers(side), left + draw.integers(side)
            if y < patch.shape[0] and x < patch.shape[1]:
                around = patch[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
                made[y, x] = around[draw.integers(around.shape[0]), draw.integers(around.shape[1])]
                mask[y, x] = 1
    return made, mask


class MaskedPatches(Patches):
    """``length`` random (masked, mask, noisy) patches of gray noisy images ``(1, H, W)``."""

    def __init__(self, images, patch_size, side, radius, length):
        super().__init__(images, patch_size, 0.0, length)
        self.side, self.radius = side, radius

    def __getitem__(self, index):
        draw = np.random.default_rng(index)
        noisy = np.ascontiguousarray(self.cut(draw))
        return tuple(torch.from_numpy(part)[None] for part in (*masked(noisy, self.side, self.radius, draw), noisy))


def train(model, images, *, patch_size, sigma, batch_size, steps, learning_rate, workers=2):
    """Train DnCNN, whose output is the residual, in place; returns (seconds of all steps but the first, losses)."""

    def loss(noisy, clean):
        return nn.MSELoss(reduction="sum")(model(noisy), noisy - clean) / (2 * len(noisy))

    return loop(model, Patches(images, patch_size, sigma, steps * batch_size), loss, batch_size, learning_rate, workers)


def train_masked(model, images, *, patch_size, side, radius, batch_size, steps, learning_rate, workers=2):
    """Train Noise2Void on noisy images, in place; returns as :func:`train`."""

    def loss(hidden, mask, noisy):
        return ((model(hidden) - noisy) ** 2 * mask).sum() / mask.sum()

    return loop(model, MaskedPatches(images, patch_size, side, radius, steps * batch_size), loss, batch_size, learning_rate, workers)


def loop(model, patches, loss_of, batch_size, learning_rate, workers):
    """The loop of both; returns (seconds of all steps but the first, losses)."""
    device = next(model.parameters()).device
    loader = DataLoader(patches, batch_size=batch_size, shuffle=True, num_workers=workers, pin_memory=device.type == "cuda")
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    model.train()
    losses, began = [], None
    for batch in loader:
        batch = [part.to(device) for part in batch]
        optimizer.zero_grad()
        loss = loss_of(*batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if began is None:
            began = time.perf_counter()  # starting the workers is not counted
    return time.perf_counter() - began, losses


class Rotations(Dataset):
    """``length`` uint8 images ``(3, H, W)``, each cropped, mirrored, and turned four times, one at a time."""

    def __init__(self, images, length, padding=4):
        self.images = images.permute(0, 2, 3, 1).numpy()
        self.length, self.padding = length, padding
        self.mean = torch.tensor([125.3, 123.0, 113.9]).view(3, 1, 1) / 255
        self.std = torch.tensor([63.0, 62.1, 66.7]).view(3, 1, 1) / 255

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        draw = np.random.default_rng(index)
        image = self.images[index % len(self.images)]
        edge, side = self.padding, image.shape[0]
        top, left = draw.integers(2 * edge + 1, size=2)
        image = np.pad(image, ((edge, edge), (edge, edge), (0, 0)))[top : top + side, left : left + side]
        if draw.integers(2):
            image = np.fliplr(image)
        turned = [np.rot90(image, r).transpose(2, 0, 1).copy() for r in range(4)]
        return torch.stack([(torch.from_numpy(one).float() / 255 - self.mean) / self.std for one in turned]), torch.arange(4)


def train_rotations(model, images, *, batch_size, steps, learning_rate, workers=2):
    """Train ``model``, which tells the four turns of normalised images apart, in place; returns the seconds of all steps but the first."""
    device = next(model.parameters()).device
    rotations = Rotations(images, steps * batch_size)
    loader = DataLoader(rotations, batch_size=batch_size, shuffle=True, num_workers=workers, pin_memory=device.type == "cuda")
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    model.train()
    began = None
    for views, labels in loader:
        views, labels = views.flatten(0, 1).to(device), labels.flatten().to(device)
        optimizer.zero_grad()
        logits = model(views)
        loss = criterion(logits, labels)
        loss.backward()
        optimizer.step()
        loss.item()
        (logits.argmax(1) == labels).float().mean().item()
        if began is None:
            began = time.perf_counter()  # starting the workers is not counted
    return time.perf_counter() - began


class Pairs(Dataset):
    """``length`` random (clean, noisy, label) of uint8 images ``(N, C, H, W)``: padded, cropped, mirrored, and with noise of a random σ."""

    def __init__(self, images, labels, max_sigma, length, padding=4):
        self.images, self.labels = images.numpy(), labels.numpy()
        self.max_sigma, self.length, self.padding = max_sigma, length, padding

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        draw = np.random.default_rng(index)
        chosen, (height, width) = draw.integers(len(self.images)), self.images.shape[2:]
        padded = np.pad(self.images[chosen], [(0, 0), (self.padding,) * 2, (self.padding,) * 2])
        top, left = draw.integers(2 * self.padding + 1, size=2)
        image = padded[:, top : top + height, left : left + width]
        if draw.integers(2):
            image = image[:, :, ::-1]
        clean = np.ascontiguousarray(image, dtype=np.float32) / 255
        sigma = self.max_sigma * draw.random(dtype=np.float32)
        noisy = (clean + sigma * draw.standard_normal(clean.shape, dtype=np.float32)).clip(0, 1)
        return torch.from_numpy(clean), torch.from_numpy(noisy), int(self.labels[chosen])


def train_classifier(model, images, labels, *, max_sigma, batch_size, steps, learning_rate, workers=2):
    """Train ``model`` with the pivot loss on ``batch_size / 2`` pairs a step, in place; returns as :func:`train`."""
    device = next(model.parameters()).device
    count = batch_size // 2
    pairs = Pairs(images, labels, max_sigma, steps * count)
    loader = DataLoader(pairs, batch_size=count, shuffle=True, num_workers=workers, pin_memory=device.type == "cuda")
    criterion = nn.CrossEntropyLoss(reduction="sum")
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9, weight_decay=1e-4)
    model.train()
    losses, began = [], None
    for clean, noisy, target in loader:
        clean, noisy, target = clean.to(device), noisy.to(device), target.to(device)
        optimizer.zero_grad()
        logits = model(torch.cat([noisy, clean]))
        perturbed, original = logits[:count], logits[count:]
        distance = (perturbed - original.detach()).square().sum()
        loss = (criterion(original, target) + 0.3 * criterion(perturbed, target)) / (1.3 * count) + 1e-4 * distance
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if began is None:
            began = time.perf_counter()
    return time.perf_counter() - began, losses
