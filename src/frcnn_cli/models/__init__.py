"""The network of every detector, its losses, and the step from its outputs to detections."""
