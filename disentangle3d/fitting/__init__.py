"""The multi-image alternating 3DMM landmark fitter (Eq. 6 and 7)."""
