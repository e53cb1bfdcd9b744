"""Graph to graph: derivatives, substitution and batching."""
