"""Quantization in torch: fake quantization, ranges, and networks that compute as their int8 files would."""

from __future__ import annotations

from edgedet.quantization.graph import IMAGE, Place
from edgedet.quantization.screen import LayerError, layer_errors
from edgedet.quantization.simulate import BEFORE_ACTIVATION, Simulation, insert, simulate

__all__ = ["BEFORE_ACTIVATION", "IMAGE", "LayerError", "Place", "Simulation", "insert", "layer_errors", "simulate"]
