"""Fast R-CNN: propose, train, compress, detect and evaluate."""

__version__ = "0.1.0"
