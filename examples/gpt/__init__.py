"""A byte-level GPT trained on the source of Python's own standard library."""
