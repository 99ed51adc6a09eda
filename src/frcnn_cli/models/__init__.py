"""The network, its losses, and what turns its answers into detections."""
