"""The training loop, with its batches, initial weights, checkpoints, metrics and validation."""
