"""From pictures to detections, and from detections to pictures and files."""
