"""From photographs and films to files of 3D faces."""
