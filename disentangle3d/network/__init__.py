"""The encoder, the decoders, and the identity heads (3.3.1)."""
