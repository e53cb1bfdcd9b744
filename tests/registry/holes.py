"""Primitives without samples.  This list may only shrink."""

HOLES: frozenset[str] = frozenset()
