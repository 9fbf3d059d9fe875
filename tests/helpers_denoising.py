"""What the tests of the denoising networks share."""

import torch
from torch import nn


def randomised(model, seed=0):
    """As after a training: statistics, scales, shifts and biases that are neither 0 nor 1, some scales negative."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in model.layers:
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.3, generator=generator)
                layer.running_var.uniform_(0.5, 2, generator=generator)
                layer.weight.normal_(0.9, 0.5, generator=generator)
                layer.bias.normal_(0, 0.2, generator=generator)
            elif isinstance(layer, nn.Conv2d) and layer.bias is not None:
                layer.bias.normal_(0, 0.1, generator=generator)
    return model
