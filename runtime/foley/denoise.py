"""The denoising loop: clips with their own samplers, steps and guidance, advanced together by one graph."""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

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
from foley_engines import Array, Engine, Session, Shape

Latents = NDArray[np.float32]  # [C,H,W]

GROWABLE: Final = ("S", "R")
"""Axes of the graph that may be larger than there are clips and rows."""


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


@dataclass(frozen=True, eq=False)
class Course:
    """The numbers of the steps that clips go together, laid out so that a step only points at its own."""

    timesteps: NDArray[np.float32]
    """[n,S]"""
    matrices: NDArray[np.float32]
    """[n,S,K,K+2]"""
    draws: tuple[tuple[bool, ...], ...]
    """[n,S] whether a clip's step takes fresh noise."""

    def __len__(self) -> int:
        return len(self.timesteps)


class Batch:
    """Clips of one latent shape that share the graph's calls; a finished clip leaves."""

    def __init__(self, engine: Engine, slots: Sequence[Slot]) -> None:
        """Take clips whose latents have the same shape [C,H,W]."""
        self._engine = engine
        self._slots = list(slots)
        self._active: list[Slot] = []
        self._session: Session | None = None
        self._shapes: dict[str, Shape] = {}
        self._course = _course([], 0)
        self._place = 0

    def __iter__(self) -> Iterator[Step]:
        """Advance all clips to their end, one graph call at a time."""
        total = max(slot.steps - slot.step for slot in self._slots)
        for number in range(1, total + 1):
            self._advance()
            if number == total:
                self._finish()
            yield Step(number, total, self)

    def latents(self) -> list[Latents]:
        """Read every clip's latents, in the order given."""
        self._collect()
        return [slot.latents.copy() for slot in self._slots]

    def arrangements(self) -> list[dict[str, Shape]]:
        """List the different shapes that the graph will be called with, in their order."""
        found: dict[tuple[tuple[str, Shape], ...], dict[str, Shape]] = {}
        for step in range(max(slot.steps - slot.step for slot in self._slots)):
            going = [slot for slot in self._slots if slot.step + step < slot.steps]
            rows = [row for slot in going for row in slot.guidance.rows(slot.step + step, slot.steps)]
            shapes = _shapes((len(going), STATE_SLOTS, *going[0].latents.shape), len(rows), _joint_shapes(rows))
            found.setdefault(tuple(shapes.items()), shapes)
        return list(found.values())

    def _advance(self) -> None:
        session, place = self._arranged(), self._place
        session[TIMESTEP].write(self._course.timesteps[place])
        session[STEP_MATRIX].write(self._course.matrices[place])
        self._draw(session, self._course.draws[place])
        session.run()
        session.feed(STATE, NEXT_STATE)
        self._place += 1
        for slot in self._active:
            slot.step += 1

    def _draw(self, session: Session, drawing: Sequence[bool]) -> None:
        """Write this step's noise, drawn for the clips whose sampler draws; the others' is multiplied by zero."""
        if not any(drawing):
            return
        shape = self._active[0].latents.shape
        zeros = np.zeros(shape, np.float32)
        noise = [
            slot.noise.normal(shape) if draws else zeros for slot, draws in zip(self._active, drawing, strict=True)
        ]
        session[NOISE].write(_repeated(np.stack(noise), session[NOISE].shape))

    def _arranged(self) -> Session:
        """Give the session for the clips and rows of the next call, loaded anew only when they change."""
        if self._session is None or self._place == len(self._course):
            active = [slot for slot in self._slots if not slot.done]
            self._arrange(active, tuple(slot.rows for slot in active))
        return cast("Session", self._session)

    def _arrange(self, active: list[Slot], rows: tuple[tuple[Row, ...], ...]) -> None:
        """Load clips and rows into a session; what is too much of it repeats the last clip, whose output nobody reads.

        The rows that are too much have no weight.
        """
        state = self._states(active)
        conditioning = _stack_conditioning([row.conditioning for clip_rows in rows for row in clip_rows])
        shapes = {name: array.shape for name, array in conditioning.items()}
        session = self._bound(_shapes(state.shape, sum(map(len, rows)), shapes))
        filled: dict[str, Array] = {
            STATE: state,
            ROW_SLOT: np.repeat(np.arange(len(rows)), list(map(len, rows))).astype(np.int64),
            REPAINT: np.ones((len(active), 1, *state.shape[3:]), np.float32),
            **conditioning,
        }
        for name, array in filled.items():
            session[name].write(_repeated(array, session[name].shape))
        session[ROW_MIX].write(_widened(_mix(rows), session[ROW_MIX].shape))
        self._session, self._active = session, active
        self._course, self._place = _course(active, session[TIMESTEP].shape[0]), 0

    def _bound(self, shapes: dict[str, Shape]) -> Session:
        """Give a session of these shapes: the running one where they are its own, for batches only ever shrink."""
        if self._session is not None and shapes == self._shapes:
            return self._session
        self._release()
        self._shapes = shapes
        session = self._engine.bind(**self._engine.fit(shapes, GROWABLE))
        self._returning = weakref.finalize(self, session.close)
        return session

    def _finish(self) -> None:
        """Collect the latents and give the session back."""
        self._collect()
        self._active = []
        self._release()

    def _release(self) -> None:
        """Give the session back; where a batch is dropped half-way, its end does."""
        if self._session is not None:
            self._returning()
            self._session = None

    def _states(self, active: list[Slot]) -> NDArray[np.float32]:
        """Gather the states [S,K,C,H,W] of clips from the running session, or start them."""
        states = self._collect()
        return np.stack([states[slot] if slot in states else _start(slot.latents) for slot in active])

    def _collect(self) -> dict[Slot, NDArray[np.float32]]:
        """Copy the running clips' latents out of the session, and give their states [K,C,H,W]."""
        if not self._active:
            return {}
        states = cast("NDArray[np.float32]", cast("Session", self._session)[STATE].read())
        running = dict(zip(self._active, states, strict=False))  # what is too much is nobody's
        for slot, state in running.items():
            slot.latents = state[0].copy()
        return running


def _course(active: Sequence[Slot], clips: int) -> Course:
    """Lay out the steps until a clip is done or reads other rows; the last clip is repeated up to `clips`."""
    if not active:
        return Course(np.zeros((0, 0), np.float32), np.zeros((0, 0, STATE_SLOTS, STATE_SLOTS + 2), np.float32), ())
    count = min(slot.guidance.same_until(slot.step, slot.steps) - slot.step for slot in active)
    parts = [(slot.table, slice(slot.step, slot.step + count)) for slot in _filled(active, clips)]
    return Course(
        np.stack([table.timesteps[part] for table, part in parts], axis=1).astype(np.float32),
        np.stack([table.matrices[part] for table, part in parts], axis=1),
        tuple(zip(*(slot.table.draws_noise[slot.step : slot.step + count] for slot in active), strict=True)),
    )


def _filled(active: Sequence[Slot], clips: int) -> list[Slot]:
    return [*active, *[active[-1]] * (clips - len(active))]


def _repeated(array: Array, shape: Shape) -> Array:
    """Repeat the last entry of the first axis up to a shape."""
    more = shape[0] - len(array)
    return array if not more else cast("Array", np.concatenate([array, np.repeat(array[-1:], more, axis=0)]))


def _widened(array: NDArray[np.float32], shape: Shape) -> NDArray[np.float32]:
    """Put zeros behind both axes up to a shape."""
    wide = np.zeros(shape, np.float32)
    wide[: len(array), : array.shape[1]] = array
    return wide


def _shapes(state: Shape, rows: int, conditioning: Mapping[str, Shape]) -> dict[str, Shape]:
    """Give the shape of every tensor of the denoising step for a state [S,K,C,H,W] and R rows."""
    clips, slots, *latents = state
    return {
        STATE: state,
        STEP_MATRIX: (clips, slots, slots + 2),
        TIMESTEP: (clips,),
        NOISE: (clips, *latents),
        ROW_SLOT: (rows,),
        ROW_MIX: (clips, rows),
        **conditioning,
        KNOWN: (clips, 2, *latents),
        KNOWN_MIX: (clips, 2),
        REPAINT: (clips, 1, *latents[1:]),
        NEXT_STATE: state,
    }


def _joint_shapes(rows: Sequence[Row]) -> dict[str, Shape]:
    """Give the shapes that the rows' conditioning has when it is stacked."""
    names = rows[0].conditioning
    arrays = {name: [row.conditioning[name] for row in rows] for name in names}
    return {name: (len(each), max(map(len, each)), *each[0].shape[1:]) for name, each in arrays.items()}


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
