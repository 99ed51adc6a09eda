"""Region proposals: how they are found, kept in the cache, and exchanged with other programs."""
