"""How good detections and proposals are: average precision, recall, comparisons and reports."""
