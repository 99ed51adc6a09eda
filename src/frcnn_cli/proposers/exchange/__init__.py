"""Proposals in the files of other programs."""
