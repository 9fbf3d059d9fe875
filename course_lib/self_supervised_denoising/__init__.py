"""Denoising without clean images: from noisy pairs, from single noisy images, and where the noise is correlated. Part IV."""
