"""Export: a trained model (train.models.model.Model) -> fused ONNX graphs with a bundle's metadata, checked against
torch.

`python -m export CHECKPOINT --kind both --head points --out DIR`; see docs/architecture.md, "The graph `stream`".
"""
