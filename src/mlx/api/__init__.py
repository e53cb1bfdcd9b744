"""Transformations of functions on trees of arrays, and what else stands above the operations."""
