"""Object detection and instance segmentation with mmdet."""
