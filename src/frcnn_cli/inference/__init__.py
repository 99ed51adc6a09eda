"""Detects objects in images, and draws and writes the results."""
