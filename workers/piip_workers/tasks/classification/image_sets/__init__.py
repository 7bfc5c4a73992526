"""Sets of images with one class each: folders of class folders, and lists."""
