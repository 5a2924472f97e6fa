"""Losses, phases, the train step, its input and its checkpoints."""
