"""Published 3D morphable models: one reader a format, checks, crop, preview."""
