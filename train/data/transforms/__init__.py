"""Augmentation: of sequences of the synthetic set, and of triplets."""
