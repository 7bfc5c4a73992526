"""Annotation files in COCO's format: read in pieces, and checked against the images."""
