"""Face shapes: the 3DMM, the built-in one, its pictures and mesh files."""
