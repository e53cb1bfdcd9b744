"""What everything rests on: data types, devices, trees, errors."""
