"""Each Core ML file is what Vision recognises, rule by rule, or fails only the rule that its maker chose to break."""

from __future__ import annotations

import pytest

from edgedet.export.coreml_package import read_package
from edgedet.export.coreml_rules import vision_findings
from tests.clients.kinds import Cell, cells
from tests.exported_files import Export
from tests.small_models import SPECS

CELLS = [cell for cell in cells() if cell.client.name == "coremltools"]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.id)
def test_every_rule_of_vision(exported: Export, cell: Cell) -> None:
    file = exported(cell.model, cell.kind.format, cell.precision, **cell.kind.options)
    package = read_package(file.artifact.path)
    findings = vision_findings(package.model, package.weights_dir)
    broken = {finding.rule: finding.reason for finding in findings if finding.status == "fail"}

    if cell.kind.options.get("coreml_nms", "pipeline") == "pipeline":
        assert not broken
        open_rules = {finding.rule for finding in findings if finding.status != "pass"}
        if SPECS[cell.model].class_parents:  # the linter cannot follow a tree's minimum back to its bounds, and says so
            assert open_rules <= {"vision-confidence-range", "vision-confidence-sum"}
        else:
            assert len(open_rules) <= 1
    else:  # suppression as an operator, or none: no pipeline, so Vision gives feature values
        assert set(broken) == {"vision-pipeline"}
