"""Photographs: finding, reading, cropping."""
