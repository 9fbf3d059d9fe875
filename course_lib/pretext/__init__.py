"""Part II: learning without labels, by pretext tasks: one file a task, with views, pseudo-labels, a head and a loss."""
