"""Pictures, annotations, and what the network is fed."""
