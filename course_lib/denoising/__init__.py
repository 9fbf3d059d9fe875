"""Part III, denoising with clean images: one file a method, and the evaluation that they share."""
