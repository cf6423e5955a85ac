"""The way of one frame: find, crop, infer, decide, emit."""
