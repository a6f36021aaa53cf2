"""Stands for coremltools on a Mac, with the little of it that the kit's script uses. Core ML itself cannot run here."""

import enum
import time
from pathlib import Path
from types import SimpleNamespace

from PIL import Image

__version__ = "9.0"
SIZE_WH = (128, 96)


class ComputeUnit(enum.Enum):
    ALL = 1
    CPU_AND_GPU = 2
    CPU_ONLY = 3
    CPU_AND_NE = 4


class MLCPUComputeDevice:
    pass


class MLNeuralEngineComputeDevice:
    pass


class MLModel:
    def __init__(self, model: str, compute_units: ComputeUnit = ComputeUnit.ALL) -> None:
        assert (Path(model) / "Manifest.json").exists()
        if compute_units is ComputeUnit.CPU_AND_GPU:
            raise RuntimeError("this stand-in has no GPU")
        self.load_duration_in_nano_seconds = 12_000_000
        self._last: int | None = None

    def predict(self, inputs: dict[str, Image.Image]) -> dict[str, object]:
        (picture,) = inputs.values()
        assert (set(inputs), picture.mode, picture.size) == ({"image"}, "RGB", SIZE_WH)
        start = time.perf_counter_ns()
        time.sleep(0.001)
        self._last = time.perf_counter_ns() - start
        return {}

    @property
    def last_predict_duration_in_nano_seconds(self) -> int | None:
        return self._last

    def get_compiled_model_path(self) -> str:
        return "model.mlmodelc"


class _Plan:
    """A pipeline of one program: a convolution for the Neural Engine, a top-k for the CPU, and a constant."""

    def __init__(self) -> None:
        operations = [
            SimpleNamespace(operator_name=name, outputs=[SimpleNamespace(name=f"{name}_0")])
            for name in ("ios16.conv", "ios16.conv", "ios16.topk", "const")
        ]
        main = SimpleNamespace(block=SimpleNamespace(operations=operations))
        program = SimpleNamespace(functions={"main": main})
        part = SimpleNamespace(program=program, pipeline=None)
        self.model_structure = SimpleNamespace(program=None, pipeline=SimpleNamespace(sub_models={"detector": part}))

    def get_compute_device_usage_for_mlprogram_operation(self, operation: SimpleNamespace) -> SimpleNamespace | None:
        cpu, engine = MLCPUComputeDevice(), MLNeuralEngineComputeDevice()
        if operation.operator_name == "const":
            return None
        if operation.operator_name == "ios16.topk":
            return SimpleNamespace(preferred_compute_device=cpu, supported_compute_devices=[cpu])
        return SimpleNamespace(preferred_compute_device=engine, supported_compute_devices=[cpu, engine])

    def get_estimated_cost_for_mlprogram_operation(self, operation: SimpleNamespace) -> SimpleNamespace:
        return SimpleNamespace(weight=0.45 if operation.operator_name == "ios16.conv" else 0.1)


class _ComputePlans:
    @staticmethod
    def load_from_path(path: str, compute_units: ComputeUnit) -> _Plan:
        assert path == "model.mlmodelc"
        return _Plan()


models = SimpleNamespace(MLModel=MLModel, compute_plan=SimpleNamespace(MLComputePlan=_ComputePlans))
