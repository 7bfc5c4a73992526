"""The worker of the task classification: data, training, metrics and proof."""
