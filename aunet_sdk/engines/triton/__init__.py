"""An engine that runs in NVIDIA's Triton Inference Server, and what runs there."""
