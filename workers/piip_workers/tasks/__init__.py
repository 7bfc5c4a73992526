"""One folder a task: its data, training, metric and proof."""
