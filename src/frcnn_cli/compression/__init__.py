"""Compressing a trained detector: its fully connected layers become layers of low rank."""
