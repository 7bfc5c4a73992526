"""One training from which many designs take their weights: draws, keys, shared tensors, and the parent's training."""
