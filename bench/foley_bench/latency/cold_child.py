"""The process of a cold start, which `cold.py` starts and reads. The runtime is imported first."""

import time

import foley

IMPORTED = time.monotonic()

import json  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from foley.cli.engine import make_setup  # noqa: E402


def main(bundle: str, engine: str, workload: str) -> None:
    """Load a bundle, make two clips, and print when and at how much memory."""
    options, wanted = json.loads(engine), json.loads(workload)
    options["plans"] = None if options["plans"] is None else Path(options["plans"])
    batch = wanted.pop("batch")
    with foley.load(bundle, engine=make_setup(options)) as pipeline:
        loaded, loaded_kib = time.monotonic(), peak_kib()
        pipeline.generate("a loud bell", count=batch, max_batch=batch, **wanted)
        first = time.monotonic()
        pipeline.generate("a rising siren, then two knocks", count=batch, max_batch=batch, **wanted)
        second = time.monotonic()
    marks = {"imported": IMPORTED, "loaded": loaded, "first_clip": first, "second_clip": second}
    print(json.dumps({**marks, "loaded_kib": loaded_kib, "peak_kib": peak_kib()}))


def peak_kib() -> int:
    """Give the most memory that this process held at once, in KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


if __name__ == "__main__":
    main(*sys.argv[1:])
