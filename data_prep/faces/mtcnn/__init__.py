"""MTCNN (Zhang et al. 2016), the paper's face detector, in JAX."""
