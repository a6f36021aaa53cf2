"""The process of one device of a fleet: its jobs, one after the other. Started by edgedet.benchmarks.devices.fleet.

python -m edgedet.benchmarks.devices.fleet_worker JOBS.json

For each job a line of JSON on stdout: {"begun": file}, then {"done": true} or {"reason": why not}. What goes wrong
inside edgedet itself ends the process with a traceback on stderr.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

from edgedet.benchmarks.devices import open_device
from edgedet.benchmarks.devices.fleet_file import Job
from edgedet.benchmarks.latency import results_json
from edgedet.benchmarks.termination import cleaning_up_on_sigterm
from edgedet.errors import EdgedetError
from edgedet.files import write_json


def main(path: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts us in the background turns it off
    for value in json.loads(path.read_text(encoding="utf-8")):
        job = Job.from_json(value)
        _tell(begun=job.file.name)
        try:
            latency = open_device(job.device, job.options).measure(job.file, job.request)
            write_json(job.place, results_json([latency]))
        except EdgedetError as error:
            _tell(reason=str(error))
        else:
            _tell(done=True)


def _tell(**values: Any) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    try:
        with cleaning_up_on_sigterm():
            main(Path(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
