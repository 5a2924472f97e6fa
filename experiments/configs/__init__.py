"""One config a run; `default.py` holds the whole schema."""
