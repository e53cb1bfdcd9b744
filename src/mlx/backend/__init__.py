"""From plans to machine code."""
