"""The task detection: boxes, and masks, of objects in images."""
