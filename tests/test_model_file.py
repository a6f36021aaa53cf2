"""model.pt: round trip, and every kind of file that is not one."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from edgedet.errors import ModelFileError
from edgedet.model_file import load_model, load_torch_file, save_model, weights_sha256
from tests.small_models import SPECS, small_model

SPEC = SPECS["ssdlite_mobilenet_v3_small"]


@pytest.fixture(scope="module")
def model_pt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    save_model(path, small_model(SPEC), SPEC)
    return path


def test_round_trip(model_pt: Path) -> None:
    model, spec = load_model(model_pt)
    assert spec == SPEC
    assert not model.training
    assert weights_sha256(model.state_dict()) == weights_sha256(small_model(SPEC).state_dict())
    assert [p.name for p in model_pt.parent.iterdir()] == ["model.pt"], "no temporary file is left"


def test_digest_sees_one_changed_weight() -> None:
    state = small_model(SPEC).state_dict()
    before = weights_sha256(state)
    next(iter(state.values())).view(-1)[0] += 1e-3
    assert weights_sha256(state) != before


class _Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code was executed",))


@pytest.mark.parametrize(
    "damage", ["missing", "empty", "truncated", "noise", "code", "list", "bare weights", "other spec"]
)
def test_bad_files_are_one_error_naming_the_file(
    damage: str, model_pt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, good = tmp_path / "bad.pt", model_pt.read_bytes()
    content = torch.load(model_pt, weights_only=True)
    if damage in ("empty", "truncated", "noise"):
        path.write_bytes({"empty": b"", "truncated": good[: len(good) // 2], "noise": bytes(range(256)) * 9}[damage])
    elif damage == "code":
        path.write_bytes(pickle.dumps({"kind": "edgedet.model", "spec": _Payload()}))
    elif damage == "list":
        torch.save([1, 2], path)
    elif damage == "bare weights":
        torch.save(content["state_dict"], path)
    elif damage == "other spec":
        torch.save({**content, "spec": SPECS["yolov3_tiny"].to_json()}, path)
    with pytest.raises(ModelFileError, match=r"bad\.pt"):
        load_model(path)
    assert "executed" not in capsys.readouterr().out


def test_weights_file_may_be_a_plain_state_dict(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pth")
    assert torch.equal(load_torch_file(tmp_path / "w.pth")["a"], torch.ones(2))  # type: ignore[arg-type]
