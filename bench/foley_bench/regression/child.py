"""A process of a sample, which `sample.py` starts and reads: clips and the yardstick in turns."""

import json
import sys
from dataclasses import asdict

from foley.bundle import load_bundle
from foley.pipeline import Pipeline
from foley_bench.regression.clip import PacedClip, pace_clip
from foley_bench.regression.orders import Order, read_order, setup_from
from foley_bench.regression.yardstick import Yardstick
from foley_bench.timing import repeated


def main(text: str) -> None:
    """Do what an order says, and print each clip's times."""
    print(json.dumps([asdict(clip) for clip in measure(read_order(text))]))


def measure(order: Order) -> list[PacedClip]:
    """Make an order's clips, after some that do not count."""
    setup = setup_from(order.engine)
    with Pipeline(load_bundle(order.bundle), engine=setup) as pipeline, Yardstick(order.yardstick, setup) as yardstick:

        def clip(number: int) -> PacedClip:
            return pace_clip(pipeline, order.workload.request(pipeline, number), yardstick, order.turns)

        return repeated(clip, order.clips, warm_up=2)


if __name__ == "__main__":
    main(*sys.argv[1:])
