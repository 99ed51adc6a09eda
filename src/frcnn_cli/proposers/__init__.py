"""Region proposals: where the boxes come from and how they are kept."""
