"""A process of a sample whose graphs compute 10 % longer, the yardstick not: python -m support.slowed_child ORDER."""

import sys
import time

from foley_bench.regression.child import main
from foley_engines.onnxruntime_cpu_session import CpuSession

MORE = 0.10


def slow_down() -> None:
    """Let every run but the yardstick's be followed by idle computing for `MORE` of its own processor time."""
    run = CpuSession.run

    def slowed(session: CpuSession) -> None:
        begin = time.process_time()
        run(session)
        end = time.process_time()
        while session._graph.stem != "yardstick" and time.process_time() < end + MORE * (end - begin):
            pass

    CpuSession.run = slowed  # type: ignore[method-assign]


if __name__ == "__main__":
    slow_down()
    main(*sys.argv[1:])
