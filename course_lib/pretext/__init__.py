"""Part II: learning without labels. Pretext tasks, their shortcuts, and what the features are worth."""
