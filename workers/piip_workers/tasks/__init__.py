"""The tasks, one folder each, with data, training, metric and proof."""
