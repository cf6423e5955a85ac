"""One command that makes a shipped model from its sources: stages with stamps, resumable (docs/training.md)."""
