"""Signs that something other than the file decided a measurement."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counters:
    """What the operating system counted of the measuring process during the runs; None where it does not tell.

    Attributes:
        involuntary_switches: times the process was taken off its core for another one.
        voluntary_switches: times it waited by itself; threads that wait for each other count.
        steal_seconds: core time that a hypervisor gave to other machines.
        core_seconds: core time the process had, all threads.
        wall_seconds: that the runs took.
        clock_mhz: the CPU's clock, read now and then meanwhile.
    """

    wall_seconds: float
    involuntary_switches: int | None = None
    voluntary_switches: int | None = None
    steal_seconds: float | None = None
    core_seconds: float | None = None
    clock_mhz: tuple[float, ...] = ()


@dataclass(frozen=True)
class NoiseCheck:
    """One sign: its value, the limit above which it says that the measurement should not be trusted, and why."""

    name: str
    value: float
    limit: float
    meaning: str

    @property
    def exceeded(self) -> bool:
        return self.value > self.limit
