"""A stand-in for the process of one device: answers at once that no job could be run. It imports nothing of edgedet."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

for job in json.loads(Path(sys.argv[1]).read_text()):
    print(json.dumps({"begun": Path(job["file"]).name}), flush=True)
    time.sleep(0.3)
    print(json.dumps({"reason": f"{job['device']} is a stand-in"}), flush=True)
