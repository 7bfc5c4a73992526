"""A task of the tests alone: the mean brightness of grey images, as one number from 0 to 1."""
