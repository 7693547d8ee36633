"""The process of a contestant: python serve.py PEER_FILE. JSON lines come in and go out; see `child.py`.

Libraries print: the protocol has file descriptors of its own, and standard output goes where errors go.
"""

import importlib.metadata
import importlib.util
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

import numpy as np


def main(file: str) -> None:
    """Answer commands until `quit`, or the end of the input."""
    commands, replies = _channels()
    process = Process(file)
    for line in commands:
        command = json.loads(line)
        if command["do"] == "quit":
            return
        print(json.dumps(_answer(process, command)), file=replies, flush=True)


def _channels() -> tuple[TextIO, TextIO]:
    commands, replies = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return commands, replies


def _answer(process: "Process", command: dict[str, Any]) -> dict[str, Any]:
    works = {"prepare": process.prepare, "load": process.load, "run": process.run}
    try:
        return works[command["do"]](command)
    except ModuleNotFoundError as error:
        return {"absent": str(error)}
    except Exception as error:
        traceback.print_exc()
        words = str(error).strip().splitlines()
        return {"error": f"{type(error).__name__}: {words[0] if words else 'without a word'}"}


class Process:
    """A peer, loaded when it is asked to."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._peer: Any = None

    def prepare(self, command: dict[str, Any]) -> dict[str, Any]:
        """Let the peer write what it needs into a folder."""
        begin = time.perf_counter()
        found = _peer(self._file).prepare(command["settings"], Path(command["folder"])) or {}
        return {**found, "seconds": time.perf_counter() - begin}

    def load(self, command: dict[str, Any]) -> dict[str, Any]:
        """Import the peer's libraries and load its model."""
        begin = time.perf_counter()
        self._peer = _peer(self._file)
        told = self._peer.load(command["settings"])
        versions = {library: importlib.metadata.version(library) for library in self._peer.LIBRARIES}
        return {**told, "versions": versions, "seconds": time.perf_counter() - begin, "peak_mib": _peak_mib()}

    def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Clock one turn of a task, reading of inputs and writing of outputs apart."""
        with np.load(command["inputs"]) as stored:
            inputs = dict(stored)
        begin, cpu = time.perf_counter(), time.process_time()
        output, evaluations = self._peer.run(command["task"], inputs)
        clocked = {"wall_s": time.perf_counter() - begin, "cpu_s": time.process_time() - cpu}
        np.save(command["output"], output)
        return {**clocked, "evaluations": evaluations, "peak_mib": _peak_mib()}


def _peer(file: str) -> Any:  # noqa: ANN401 — a class of a file that is known by its path
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.Peer()


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main(sys.argv[1])
