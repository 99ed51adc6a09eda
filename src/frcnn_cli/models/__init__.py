"""The networks of the detectors, their losses, and the step from their outputs to detections."""
