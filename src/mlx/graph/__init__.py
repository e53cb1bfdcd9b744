"""The recorded graph: nodes, and the transformations that are recording."""
