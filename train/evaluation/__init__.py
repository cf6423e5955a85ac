"""What trained networks say, and how good it is."""
