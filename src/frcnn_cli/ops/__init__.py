"""Functions and layers over arrays and tensors, which know nothing of files, models or settings."""
