"""Proposals in the file formats of other programs: read, written, imported into the cache."""
