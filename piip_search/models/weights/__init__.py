"""Pre-trained weights, and how they fit into a network."""
