"""The HTML page about an evaluation."""
