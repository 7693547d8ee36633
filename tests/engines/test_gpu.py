"""The real thing, wherever it is: engines on an NVIDIA GPU against the CPU, graph by graph and clip by clip."""

from pathlib import Path

import numpy as np
import pytest

import foley
import foley_engines
from foley.verify import snr_db
from foley_engines import CudaSetup, Setup, TensorRtSetup

CLIP_FLOOR_DB = 40.0
PROMPTS = ["a loud bell", "a rising siren, then two knocks", "wind"]
STATUSES = {name: foley_engines.status(name) for name in ("cuda", "tensorrt")}

pytestmark = pytest.mark.gpu


@pytest.fixture(params=STATUSES)
def engine(request: pytest.FixtureRequest) -> str:
    status = STATUSES[request.param]
    if not status.usable:
        pytest.skip(f"{request.param}: {status.detail}")
    return str(request.param)


@pytest.fixture
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "gpu-plans"


def setup(engine: str, plans: Path, *, captured: bool = True) -> Setup:
    return CudaSetup(captured=captured) if engine == "cuda" else TensorRtSetup(plans=plans, captured=captured)


@pytest.mark.parametrize("knobs", [{}, {"guidance_stop": 0.5}, {"sampler": "euler-a"}, {"seconds": 1.28}], ids=str)
def test_clips_are_the_cpus(engine: str, plans: Path, knobs: dict[str, object]):
    with foley.load() as pipeline:
        expected = pipeline.generate(PROMPTS, steps=6, **knobs)
    with foley.load(engine=setup(engine, plans)) as pipeline:
        clips = pipeline.generate(PROMPTS, steps=6, **knobs)
    for clip, other in zip(clips, expected, strict=True):
        assert snr_db(other.latents, clip.latents) >= CLIP_FLOOR_DB


def test_captured_runs_are_plain_runs(engine: str, plans: Path):
    clips = []
    for captured in (True, False):
        with foley.load(engine=setup(engine, plans, captured=captured)) as pipeline:
            clips.append(pipeline.generate("a bell", steps=8)[0])
    assert np.allclose(clips[0].latents, clips[1].latents, atol=1e-5)


def test_the_second_generation_is_the_first(engine: str, plans: Path):
    with foley.load(engine=setup(engine, plans)) as pipeline:
        first, second = (pipeline.generate("a bell", steps=8, seed=3)[0] for _ in range(2))
    assert np.array_equal(first.samples, second.samples)


def test_graphs_hold_their_floors(engine: str, plans: Path):
    with foley.load(engine=setup(engine, plans)) as pipeline:
        pipeline.generate("a bell", steps=2)  # so that there are plans
        reports = list(foley.verify(pipeline.bundle, engine=setup(engine, plans)))
    assert reports
    assert all(report.passed for report in reports), reports
