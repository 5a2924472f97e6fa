"""Writing and checking training sets, those of synthetic people too."""
