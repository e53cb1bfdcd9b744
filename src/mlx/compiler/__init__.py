"""From a region of the graph to loop nests over planned memory."""
