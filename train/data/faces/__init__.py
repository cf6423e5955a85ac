"""Faces of a corpus: who finds them, and how they are stored."""
