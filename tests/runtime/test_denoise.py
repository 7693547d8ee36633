"""The denoising loop against the same loop written out in numpy, alone and in company."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from support import mini_model

import foley_engines
from foley.denoise import Batch, Latents, Slot
from foley.guidance import Row, guide
from foley.noise import NoiseStream
from foley.samplers import SAMPLERS, SamplerTable, sampler_table
from foley.schedule import NoiseSchedule
from foley_engines import Engine

SCHEDULE = NoiseSchedule(steps_offset=1, set_alpha_to_one=False, timestep_spacing="leading")
SHAPE = (3, 4, 8)
FLOOR_DB = 60.0  # measured 95 and more
NONE = np.zeros((8, 6), np.float32)


@dataclass(frozen=True)
class Case:
    """One clip's settings; its prompt is a random context."""

    sampler: str
    steps: int
    scale: float = 3.0
    stop: float = 1.0
    seed: int = 0
    eta: float | None = None

    @property
    def table(self) -> SamplerTable:
        return sampler_table(self.sampler, SCHEDULE, self.steps, eta=self.eta)

    @property
    def context(self) -> np.ndarray:
        return np.random.default_rng(self.seed).standard_normal(NONE.shape).astype(np.float32)

    def slot(self) -> Slot:
        stream = NoiseStream(self.seed)
        guidance = guide([Row({"context": self.context}, 1.0)], {"context": NONE}, scale=self.scale, stop=self.stop)
        return Slot(self.table, guidance, stream, stream.normal(SHAPE) * np.float32(self.table.initial_scale))

    def expected(self, table: SamplerTable) -> np.ndarray:
        """Latents after the steps of `table`, from classifier-free guidance as its paper has it."""
        stream, evaluations = NoiseStream(self.seed), len(self.table.timesteps)

        def rows(step: int) -> list[tuple[np.ndarray, float]]:
            if self.scale <= 1 or step >= self.stop * evaluations:
                return [(self.context, 1.0)]
            return [(self.context, self.scale), (NONE, 1.0 - self.scale)]

        start = stream.normal(SHAPE) * table.initial_scale
        return mini_model.denoise(start, table, rows, lambda: stream.normal(SHAPE))


COMPANY = [
    Case("ddim", 5, scale=7.5, seed=1),
    Case("euler-a", 9, stop=0.5, seed=2),
    Case("pndm", 7, scale=1.0, seed=3),
    Case("dpmpp-2m-sde", 4, scale=2.0, seed=4),
    Case("unipc", 12, stop=0.0, seed=5),
    Case("ddim", 6, seed=6, eta=1.0),
    Case("lcm", 3, scale=0.0, seed=7),
]


@pytest.fixture(scope="module")
def engine(mini_bundle: Path):
    with foley_engines.open(mini_bundle / "graphs/denoise_step.onnx", engine="cpu", threads=1) as opened:
        yield opened


def finish(engine: Engine, slots: list[Slot]) -> list[Latents]:
    batch = Batch(engine, slots)
    for _ in batch:
        pass
    return batch.latents()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("stop", [0.4, 1.0])
def test_a_clip_is_the_written_out_loop(engine: Engine, sampler: str, stop: float):
    case = Case(sampler, 6, stop=stop, seed=11)
    [latents] = finish(engine, [case.slot()])
    assert mini_model.snr_db(case.expected(case.table), latents) >= FLOOR_DB


def test_clips_in_company_are_the_clips_alone(engine: Engine):
    together = finish(engine, [case.slot() for case in COMPANY])
    for case, latents in zip(COMPANY, together, strict=True):
        [alone] = finish(engine, [case.slot()])
        assert mini_model.snr_db(alone, latents) >= FLOOR_DB, case
        assert mini_model.snr_db(case.expected(case.table), latents) >= FLOOR_DB, case


def test_draws_do_not_depend_on_the_company(engine: Engine):
    """Two stochastic clips swap places and gain a third: each keeps its own noise."""
    first, second, third = Case("euler-a", 6, seed=21), Case("ddpm", 6, seed=22), Case("lcm", 4, seed=23)
    one = finish(engine, [first.slot(), second.slot()])
    other = finish(engine, [third.slot(), second.slot(), first.slot()])
    assert mini_model.snr_db(one[0], other[2]) >= FLOOR_DB
    assert mini_model.snr_db(one[1], other[1]) >= FLOOR_DB
    assert mini_model.snr_db(one[0], one[1]) < 20  # different seeds sound different


def test_steps_count_to_the_longest_clip(engine: Engine):
    slots = [case.slot() for case in COMPANY]
    assert [(step.number, step.total) for step in Batch(engine, slots)] == [(n, 12) for n in range(1, 13)]
    assert all(slot.done for slot in slots)


def test_looking_at_latents_does_not_disturb_them(engine: Engine):
    slots = [case.slot() for case in COMPANY]
    for step in Batch(engine, slots):
        for seen in step.latents():
            seen[...] = np.nan  # a copy, so nothing may come of it
    for case, slot in zip(COMPANY, slots, strict=True):
        assert mini_model.snr_db(case.expected(case.table), slot.latents) >= FLOOR_DB


def test_latents_on_the_way_are_those_of_that_step(engine: Engine):
    case = Case("dpmpp-2m", 8, seed=31)
    batch = Batch(engine, [case.slot()])
    for step in batch:
        done = replace(
            case.table, **{name: getattr(case.table, name)[: step.number] for name in ("timesteps", "matrices")}
        )
        assert mini_model.snr_db(case.expected(done), step.latents()[0]) >= FLOOR_DB


def test_cancelling_keeps_what_was_reached(engine: Engine):
    case = Case("ddim", 8, seed=41)
    slot = case.slot()
    batch = Batch(engine, [slot])
    for step in batch:
        if step.number == 3:
            break
    assert (slot.step, slot.done) == (3, False)
    done = replace(case.table, timesteps=case.table.timesteps[:3], matrices=case.table.matrices[:3])
    assert mini_model.snr_db(case.expected(done), batch.latents()[0]) >= FLOOR_DB


def test_a_cancelled_batch_goes_on_where_it_stopped(engine: Engine):
    case = Case("dpmpp-3m", 8, seed=42)  # with a history that must survive
    batch = Batch(engine, [case.slot()])
    assert next(iter(batch)).number == 1
    assert [step.total for step in batch] == [7] * 7
    assert mini_model.snr_db(case.expected(case.table), batch.latents()[0]) >= FLOOR_DB
