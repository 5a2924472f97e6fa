"""From landmarks to files of fitted coefficients, and what they look like."""
