"""Operators of the networks, portable or fused for GPUs."""
