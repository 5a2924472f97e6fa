"""Reconstruction, verification and disentanglement measures."""
