"""What networks are tested on."""
