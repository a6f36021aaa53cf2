"""The quantization lab: what a smaller file costs and why, and which layers should stay in float."""
