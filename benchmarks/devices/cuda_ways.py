"""The ways in which a GPU runs a file, by name; here, because what lists them must not import torch."""

TORCH_WAYS = ("eager", "compiled", "graphs")
ORT_WAYS = ("ort-cuda", "ort-tensorrt")
