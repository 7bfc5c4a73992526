"""A trained network in other forms: CUDA graphs, torch, ONNX, MLflow."""
