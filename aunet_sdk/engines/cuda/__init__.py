"""CUDA: the calls that engines need, two libraries that provide them, and ONNX Runtime on NVIDIA GPUs."""
