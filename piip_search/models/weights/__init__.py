"""Pre-trained weights: which there are, and how they fit into a network."""
