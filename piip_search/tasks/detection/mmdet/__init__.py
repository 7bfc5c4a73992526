"""An architecture as an mmdet 3 configuration."""
