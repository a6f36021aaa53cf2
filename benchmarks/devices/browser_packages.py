"""The npm packages that the page runs files with, installed once into a folder of the user's cache.

    python -m edgedet.benchmarks.devices.browser_packages

Afterwards no network is needed: the page gets everything from here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from edgedet.errors import EdgedetError, NotRunError
from edgedet.export.snippets_table import VERSIONS as SNIPPET_VERSIONS
from edgedet.files import write_text

VERSIONS = {
    "onnxruntime-web": SNIPPET_VERSIONS["onnxruntime_web"],
    "@litertjs/core": "2.5.3",
    "@litertjs/wasm-utils": "2.5.3",
}
FOLDER_VARIABLE = "EDGEDET_BROWSER_PACKAGES"
INSTALL = "python -m edgedet.benchmarks.devices.browser_packages"
_MINUTES = 10

_ORT = "onnxruntime-web/dist"
_LITERT = "@litertjs/core"
_LITERT_BUILDS = ("litert_wasm_compat_internal", "litert_wasm_internal", "litert_wasm_jspi_internal")
# WebAssembly that each backend of onnxruntime-web loads.
ORT_WASM = {"wasm": "ort-wasm-simd-threaded.wasm", "webgpu": "ort-wasm-simd-threaded.asyncify.wasm"}


def folder() -> Path:
    """Where the packages are, or would be."""
    named = os.environ.get(FOLDER_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else cache / "edgedet" / "browser"


def package_files(root: Path | None = None) -> dict[str, Path]:
    """What the page may fetch of the packages: path in its address, and file.

    Raises:
        NotRunError: they are not installed, or in other versions.
    """
    root = root or folder()
    ready = root / ".ready"
    if not (ready.is_file() and ready.read_text(encoding="utf-8") == _manifest()):
        raise NotRunError(f"the browser's packages ({', '.join(VERSIONS)}) are not installed", f"Run: {INSTALL}")
    modules = root / "node_modules"
    served = {f"onnxruntime-web/{name}": modules / _ORT / name for name in ORT_WASM.values()}
    for name in ("ort.wasm.bundle.min.mjs", "ort.webgpu.bundle.min.mjs"):
        served[f"onnxruntime-web/{name}"] = modules / _ORT / name
    served["litertjs/index.js"] = modules / _LITERT / "dist" / "index.js"
    served["litertjs/wasm-utils.js"] = modules / "@litertjs" / "wasm-utils" / "dist" / "index.js"
    for build in (*_LITERT_BUILDS, "litert_wasm_threaded_internal"):
        for suffix in (".js", ".wasm"):
            served[f"litertjs/{build}{suffix}"] = modules / _LITERT / "wasm" / (build + suffix)
    if missing := [path.name for path in served.values() if not path.is_file()]:
        raise NotRunError(f"the browser's packages lack {', '.join(missing)}", f"Delete {root} and run: {INSTALL}")
    return served


def install(root: Path | None = None) -> Path:
    """Install the packages unless they are there; the folder.

    Raises:
        NotRunError: npm is missing or could not install them.
    """
    root = root or folder()
    ready = root / ".ready"
    if ready.is_file() and ready.read_text(encoding="utf-8") == _manifest():
        return root
    npm = shutil.which("npm")
    if npm is None:
        raise NotRunError("npm is not installed", "Install it, on Debian with: apt-get install npm")
    root.mkdir(parents=True, exist_ok=True)
    write_text(root / "package.json", _manifest())
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=_MINUTES * 60)
    except subprocess.TimeoutExpired as error:
        raise NotRunError(f"npm did not finish within {_MINUTES} minutes", "Check the network.") from error
    if done.returncode:
        raise NotRunError(f"npm could not install the packages ({done.stderr.strip()[-300:]})", "Check the network.")
    write_text(ready, _manifest())  # last, so an interrupted installation starts again
    return root


def _manifest() -> str:
    return json.dumps({"private": True, "dependencies": VERSIONS})


def main() -> int:
    """Install, and say where."""
    try:
        print(f"{', '.join(VERSIONS)}: {install()}")
    except EdgedetError as error:
        print(f"not run: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
