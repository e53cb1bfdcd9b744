"""What the graph records: one frozen class for each operation, with all its rules."""
