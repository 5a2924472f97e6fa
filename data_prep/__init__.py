"""Binaries that turn what users have on disk into the dataset."""
