"""Checks as JUnit XML, which continuous integration shows.

There is no official schema; this is the subset that Jenkins, GitLab and GitHub's actions read: failures for what is
broken, errors for what could not be decided, so that neither is ever shown as passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from edgedet.benchmarks.budget import Check, number_text

_ELEMENTS = {"fail": "failure", "undecided": "error", "not run": "error"}


def junit_xml(checks: Sequence[Check], suite: str = "edgedet check") -> str:
    """One test case a check, with its value, interval and reason."""
    counts = {kind: sum(_ELEMENTS.get(check.status) == kind for check in checks) for kind in ("failure", "error")}
    totals = {"tests": str(len(checks)), "failures": str(counts["failure"]), "errors": str(counts["error"])}
    root = ElementTree.Element("testsuites", totals)
    parent = ElementTree.SubElement(root, "testsuite", {"name": suite, **totals})
    for check in checks:
        attributes = {"classname": check.file, "name": f"{check.limit_name} <= {number_text(check.limit)}"}
        case = ElementTree.SubElement(parent, "testcase", attributes)
        if check.status in _ELEMENTS:
            details = {"type": check.status, "message": message(check)}
            ElementTree.SubElement(case, _ELEMENTS[check.status], details)
        else:
            ElementTree.SubElement(case, "system-out").text = message(check)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def message(check: Check) -> str:
    """The value, its interval and the reason, in one line."""
    parts = [f"{check.status}: {check.limit_name}"]
    if check.value is not None:
        parts.append(number_text(check.value))
    if check.interval is not None:
        low, high = map(number_text, check.interval)
        parts.append(f"({low} to {high} with 95 % confidence)")
    parts.append(f"limit {number_text(check.limit)}")
    return " ".join(parts) + (f"; {check.reason}" if check.reason else "")
