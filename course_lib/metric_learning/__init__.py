"""Part I: learning a distance. Embedding networks, contrastive and triplet losses, mining, the gallery."""
