"""Classifying noisy images: regularised, joined with a denoiser, or taught by another network."""
