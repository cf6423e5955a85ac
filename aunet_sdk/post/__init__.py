"""What is made of final results: the face at rest, and later validity, events and smoothing."""
