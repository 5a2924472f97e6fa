"""Mirrors the tree; `fixtures.py` makes the tiny seeded models."""
