"""Fully connected layers of low rank: choosing, fitting and measuring them."""
