"""Operators of the networks: portable, and fused for GPUs."""
