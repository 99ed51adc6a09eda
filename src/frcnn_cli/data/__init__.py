"""Data sets, images from any place, and the batches that go into the network."""
