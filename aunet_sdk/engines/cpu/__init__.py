"""Engines for processors: ONNX Runtime, OpenVINO, and the choice between them."""
