"""DnCNN and ResNet-20 trained as public code usually does it, for `course bench` to compare with: written here, in that style.

A data set that crops, turns and makes noise for one image at a time, a data loader with worker processes, float32, PyTorch's
default memory layout, and a loss that is fetched in every step.
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

    def __getitem__(self, index):
        draw = np.random.default_rng(index)
        image = self.images[draw.integers(len(self.images))]
        top, left = (draw.integers(side - self.patch_size + 1) for side in image.shape)
        patch = image[top : top + self.patch_size, left : left + self.patch_size]
        patch = np.rot90(patch, draw.integers(4))
        if draw.integers(2):
            patch = np.fliplr(patch)
        clean = np.ascontiguousarray(patch, dtype=np.float32) / 255
        noisy = clean + self.sigma * draw.standard_normal(clean.shape, dtype=np.float32)
        return torch.from_numpy(noisy)[None], torch.from_numpy(clean)[None]


def train(model, images, *, patch_size, sigma, batch_size, steps, learning_rate, workers=2):
    """Train ``model``, whose output is the residual, in place; returns (seconds of all steps but the first, losses)."""
    device = next(model.parameters()).device
    patches = Patches(images, patch_size, sigma, steps * batch_size)
    loader = DataLoader(patches, batch_size=batch_size, shuffle=True, num_workers=workers, pin_memory=device.type == "cuda")
    criterion = nn.MSELoss(reduction="sum")
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    model.train()
    losses, began = [], None
    for noisy, clean in loader:
        noisy, clean = noisy.to(device), clean.to(device)
        optimizer.zero_grad()
        loss = criterion(model(noisy), noisy - clean) / (2 * len(noisy))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if began is None:
            began = time.perf_counter()  # starting the workers is not counted
    return time.perf_counter() - began, losses


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
