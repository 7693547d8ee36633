"""Plans without an engine, each with its record."""

from foley_engines.plans.record import Figure, Record, Verified
from foley_engines.plans.store import PlanStore

CONTENT = {"yes": b"refittable" * 50, "no": b"of its weights" * 50}
VERIFIED = Verified(against="torch", floor_db=35.0, figures=(Figure(output="y", snr_db=64.0, worst_abs=1e-3),))


def keep(store: PlanStore, refittable: str) -> Record:
    """Write a plan that takes other weights ("yes") or not ("no"), and its record."""
    name, sha256 = store.write_plan("denoise_step", CONTENT[refittable])
    record = Record(
        schema=1, graph="denoise_step", parts={"refittable": refittable, "weights": "a" * 64}, profile={}, plan=name,
        sha256=sha256, bytes=len(CONTENT[refittable]), weights_inside=None, verified=VERIFIED, scratch_bytes=0,
        build_s=1.0, created_by={},
    )  # fmt: skip
    store.write_record(record)
    return record
