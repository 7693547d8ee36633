"""The denoising loop: clips with their own samplers, steps and guidance, advanced together by one graph."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from foley.contract import (
    KNOWN,
    KNOWN_MIX,
    NEXT_STATE,
    NOISE,
    REPAINT,
    ROW_MIX,
    ROW_SLOT,
    STATE,
    STATE_SLOTS,
    STEP_MATRIX,
    TIMESTEP,
)
from foley.guidance import Conditioning, Guidance, Row
from foley.noise import NoiseStream
from foley.samplers import SamplerTable
from foley_engines import Engine, Session, Shape

Latents = NDArray[np.float32]  # [C,H,W]


@dataclass(eq=False)
class Slot:
    """One clip on its way from noise to latents."""

    table: SamplerTable
    guidance: Guidance
    noise: NoiseStream
    latents: Latents
    """The starting sample before the loop, the finished latents after it."""
    step: int = field(init=False, default=0)
    """Steps done. A clip cannot start half-way: its table's history slots would be empty."""

    @property
    def steps(self) -> int:
        """U-Net evaluations in all."""
        return len(self.table.timesteps)

    @property
    def done(self) -> bool:
        """Whether the clip is finished."""
        return self.step >= self.steps

    @property
    def rows(self) -> tuple[Row, ...]:
        """Rows of the next step."""
        return self.guidance.rows(self.step, self.steps)


@dataclass(frozen=True, eq=False)
class Step:
    """What the loop tells after each call of the graph."""

    number: int
    """Calls done, from 1."""
    total: int
    """Calls in all."""
    _batch: "Batch" = field(repr=False)

    def latents(self) -> list[Latents]:
        """Read every clip's current latents, float32 [C,H,W] each: a copy, noisy until the last step."""
        return self._batch.latents()


class Batch:
    """Clips of one latent shape that share the graph's calls; a finished clip leaves."""

    def __init__(self, engine: Engine, slots: Sequence[Slot]) -> None:
        """Take clips whose latents have the same shape [C,H,W]."""
        self._engine = engine
        self._slots = list(slots)
        self._active: list[Slot] = []
        self._rows: tuple[tuple[Row, ...], ...] = ()
        self._session: Session | None = None
        self._shapes: dict[str, Shape] = {}

    def __iter__(self) -> Iterator[Step]:
        """Advance all clips to their end, one graph call at a time."""
        total = max(slot.steps - slot.step for slot in self._slots)
        for number in range(1, total + 1):
            self._advance()
            if number == total:
                self._collect()
            yield Step(number, total, self)

    def latents(self) -> list[Latents]:
        """Read every clip's latents, in the order given."""
        self._collect()
        return [slot.latents.copy() for slot in self._slots]

    def _advance(self) -> None:
        session = self._arranged()
        session[TIMESTEP].write(np.array([slot.table.timesteps[slot.step] for slot in self._active], np.float32))
        session[STEP_MATRIX].write(np.stack([slot.table.matrices[slot.step] for slot in self._active]))
        self._draw(session)
        session.run()
        session.feed(STATE, NEXT_STATE)
        for slot in self._active:
            slot.step += 1

    def _draw(self, session: Session) -> None:
        """Write this step's noise, drawn for the clips whose sampler draws; the others' is multiplied by zero."""
        drawing = [slot.table.draws_noise[slot.step] for slot in self._active]
        if not any(drawing):
            return
        shape = self._active[0].latents.shape
        zeros = np.zeros(shape, np.float32)
        noise = [
            slot.noise.normal(shape) if draws else zeros for slot, draws in zip(self._active, drawing, strict=True)
        ]
        session[NOISE].write(np.stack(noise))

    def _arranged(self) -> Session:
        """Give the session for the clips and rows of the next call, loaded anew only when they change."""
        active = [slot for slot in self._slots if not slot.done]
        rows = tuple(slot.rows for slot in active)
        if self._session is None or active != self._active or rows != self._rows:
            self._arrange(active, rows)
        return cast("Session", self._session)

    def _arrange(self, active: list[Slot], rows: tuple[tuple[Row, ...], ...]) -> None:
        state = self._states(active)
        conditioning = _stack_conditioning([row.conditioning for clip_rows in rows for row in clip_rows])
        session = self._bound(_shapes(state.shape, sum(map(len, rows)), conditioning))
        session[STATE].write(state)
        for name, array in conditioning.items():
            session[name].write(array)
        session[ROW_SLOT].write(np.repeat(np.arange(len(rows)), list(map(len, rows))).astype(np.int64))
        session[ROW_MIX].write(_mix(rows))
        session[REPAINT].write(np.ones((len(active), 1, *state.shape[3:]), np.float32))
        self._session, self._active, self._rows = session, active, rows

    def _bound(self, shapes: dict[str, Shape]) -> Session:
        """Give a session of these shapes: the running one where they are its own, for batches only ever shrink."""
        if self._session is not None and shapes == self._shapes:
            return self._session
        self._shapes = shapes
        return self._engine.bind(**shapes)

    def _states(self, active: list[Slot]) -> NDArray[np.float32]:
        """Gather the states [S,K,C,H,W] of clips from the running session, or start them."""
        self._collect()
        kept = dict(zip(self._active, self._read_state(), strict=True)) if self._active else {}
        return np.stack([kept[slot] if slot in kept else _start(slot.latents) for slot in active])

    def _read_state(self) -> NDArray[np.float32]:
        return cast("NDArray[np.float32]", cast("Session", self._session)[STATE].read())

    def _collect(self) -> None:
        """Copy the running clips' latents out of the session."""
        if self._active:
            for slot, state in zip(self._active, self._read_state(), strict=True):
                slot.latents = state[0].copy()


def _shapes(state: Shape, rows: int, conditioning: Conditioning) -> dict[str, Shape]:
    """Give the shape of every tensor of the denoising step for a state [S,K,C,H,W] and R rows."""
    clips, slots, *latents = state
    return {
        STATE: state,
        STEP_MATRIX: (clips, slots, slots + 2),
        TIMESTEP: (clips,),
        NOISE: (clips, *latents),
        ROW_SLOT: (rows,),
        ROW_MIX: (clips, rows),
        **{name: array.shape for name, array in conditioning.items()},
        KNOWN: (clips, 2, *latents),
        KNOWN_MIX: (clips, 2),
        REPAINT: (clips, 1, *latents[1:]),
        NEXT_STATE: state,
    }


def _stack_conditioning(rows: Sequence[Conditioning]) -> Conditioning:
    """Stack the rows' conditioning by name, the shorter ones padded with zeros along the token axis."""
    return {name: _stack([row[name] for row in rows]) for name in rows[0]}


def _stack(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    stacked = np.zeros((len(arrays), max(len(array) for array in arrays), *arrays[0].shape[1:]), np.float32)
    for row, array in zip(stacked, arrays, strict=True):
        row[: len(array)] = array
    return stacked


def _start(latents: Latents) -> NDArray[np.float32]:
    state = np.zeros((STATE_SLOTS, *latents.shape), np.float32)
    state[0] = latents
    return state


def _mix(rows: Sequence[Sequence[Row]]) -> NDArray[np.float32]:
    mix = np.zeros((len(rows), sum(map(len, rows))), np.float32)
    column = 0
    for clip, clip_rows in enumerate(rows):
        mix[clip, column : column + len(clip_rows)] = [row.weight for row in clip_rows]
        column += len(clip_rows)
    return mix
