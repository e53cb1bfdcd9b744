"""The rows as the other frameworks' users would write them."""
