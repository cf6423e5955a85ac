"""TensorRT and TensorRT-RTX: building plans, keeping them, and running them."""
