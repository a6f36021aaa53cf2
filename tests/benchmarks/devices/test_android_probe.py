"""What phones say of themselves. The texts were written after Android's sources and the kernel's files, not copied."""

from __future__ import annotations

import pytest

from edgedet.benchmarks.devices.android_probe import (
    Core,
    battery,
    clusters,
    cores,
    fast_cores,
    hottest_zone,
    mask,
    thermal,
)
from edgedet.benchmarks.devices.android_tool import from_logcat

_FOUR_AND_THREE_AND_ONE = tuple(Core(k, khz) for k, khz in enumerate([18] * 4 + [24] * 3 + [30]))


@pytest.mark.parametrize(
    ("threads", "chosen"),
    [(1, (7,)), (2, (4, 5, 6, 7)), (4, (4, 5, 6, 7)), (5, tuple(range(8))), (None, (4, 5, 6, 7))],
)
def test_whole_clusters_from_the_fastest(threads: int | None, chosen: tuple[int, ...]) -> None:
    assert fast_cores(_FOUR_AND_THREE_AND_ONE, threads) == chosen


def test_equal_cores_are_left_to_the_phone() -> None:
    assert fast_cores([Core(0, 20), Core(1, 20)], 1) is None
    assert fast_cores([Core(0, 0), Core(1, 0)], None) is None
    assert fast_cores([], 2) is None


def test_clusters_in_words() -> None:
    assert clusters([Core(0, 1800000), Core(1, 1800000), Core(2, 3000000)]) == "1 x 3000 MHz, 2 x 1800 MHz"
    assert clusters([Core(0, 250), Core(1, 1024)]) == "1 x capacity 1024, 1 x capacity 250"
    assert clusters([]) == ""


def test_a_mask_is_hexadecimal() -> None:
    assert mask((4, 5, 6, 7)) == "f0"
    assert mask((0,)) == "1"


def test_cores_that_are_off_do_not_count_and_capacity_replaces_clocks() -> None:
    assert cores("0 1 1800000 250\n10 1 3000000 1024\n2 0 1800000 250\ngarbage") == (
        Core(0, 1800000),
        Core(10, 3000000),
    )
    assert cores("0 1 0 250\n1 1 0 1024") == (Core(0, 250), Core(1, 1024))


def test_thermal_service() -> None:
    text = (
        "Thermal Status: 3\nCached temperatures:\n\tTemperature{mValue=99.0, mType=0, mName=old, mStatus=0}\n"
        "Current temperatures from HAL:\n\tTemperature{mValue=61.06, mType=0, mName=cpu0, mStatus=2}\n"
        "\tTemperature{mValue=70.0, mType=1, mName=gpu, mStatus=2}\nCurrent cooling devices from HAL:\n"
    )
    assert thermal(text) == ("severe", 61.1)
    assert thermal(text.split("Current temp")[0]) == ("severe", 99.0)
    assert thermal("Can't find service: thermalservice") == (None, None)


def test_zones_in_degrees_or_thousandths() -> None:
    assert hottest_zone("battery 30000\ncpu-0-0 41500\ncpu-1-0 43\nsoc_max -40000\ngpu 90000\n broken") == 43.0
    assert hottest_zone("battery 30000") is None


def test_battery_in_words() -> None:
    text = "Current Battery Service state:\n  AC powered: true\n  USB powered: false\n  level: 7\n  temperature: 305\n"
    assert battery(text) == "7 %, 30.5 C, charging over AC"
    assert battery("  level: 50\n") == "50 %, on battery"
    assert battery("") is None


def test_logcat_lines_become_those_of_a_terminal() -> None:
    text = "--------- beginning of main\nI/tflite  ( 123): count=2 curr=5\nE/tflite  (9): Failed to load model\nother"
    assert from_logcat(text) == "INFO: count=2 curr=5\nERROR: Failed to load model"
