"""What users call: operands are checked, promoted and broadcast, then primitives recorded."""
