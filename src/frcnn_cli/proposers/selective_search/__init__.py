"""Selective search (Uijlings et al., IJCV 2013)."""

from .search import VERSION, selective_search

__all__ = ["VERSION", "selective_search"]
