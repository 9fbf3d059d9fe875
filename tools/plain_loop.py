"""DnCNN trained as public code usually does it, for `course bench` to compare with: written here, in that style.

A data set that crops, turns and makes noise for one patch at a time, a data loader with worker processes, float32, PyTorch's
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
