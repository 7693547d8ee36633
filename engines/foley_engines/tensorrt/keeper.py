"""A graph's plans: found, built or refitted where that is due, verified, and only then recorded."""

import math
import platform
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foley_engines.base import DTYPES, TensorSpec
from foley_engines.errors import EngineError, UsageError
from foley_engines.graph_file import GraphFile, Spelling
from foley_engines.plans.parts import Parts, differences
from foley_engines.plans.record import SCHEMA, Record, Verified, adopted
from foley_engines.plans.store import PlanStore
from foley_engines.profiles import Profile, Sizes, admits, breadth, describe, span
from foley_engines.tensorrt.builder import Built, build_plan
from foley_engines.tensorrt.engine import LoadedPlan, Tensors
from foley_engines.tensorrt.library import reason
from foley_engines.tensorrt.parts import IDENTITY, may_run_here, parts_of, runs_here
from foley_engines.tensorrt.refit import put_weights
from foley_engines.tensorrt.verification import measure_plan, verify_plan

if TYPE_CHECKING:
    from foley_engines.tensorrt.host import TensorRtHost

MIB: Final = 1 << 20


class PlanKeeper:
    """The plans of one graph for one device, library and set of options."""

    def __init__(self, host: "TensorRtHost", graph: GraphFile, spelling: Spelling, tensors: Tensors) -> None:
        self._host, self.graph, self.spelling, self.tensors = host, graph, spelling, tensors
        self.store = PlanStore(host.setup.plans or graph.plans_folder("tensorrt"))
        self._tell = partial(host.setup.tell, graph.name)
        self._weights = graph.weights_digest(spelling)

    def parts(self, profile: Profile) -> Parts:
        """List what a plan of a profile depends on here."""
        host = self._host
        return parts_of(host.trt, host.device, self.graph, self.spelling, profile, host.setup.options)

    def plan_for(self, sizes: dict[str, int]) -> LoadedPlan:
        """Load the narrowest recorded plan that admits sizes; where there is none, verify or build one.

        Options say how plans are built, not which are used: any that was verified for this graph, library and GPU is.

        Raises:
            UsageError: there is none, and building is not allowed, or not with these weights.
            EngineError: a plan is damaged or does not load, or the build fails.
        """
        wanted = self.graph.profile(sizes)
        parts = self.parts(wanted)
        fitting = [record for record in self._admitting(sizes) if runs_here(record.parts, parts)]
        make = self._refitted if self.graph.refit_only else self._make
        return self.load(_narrowest(fitting) or make(wanted, parts, sizes))

    def own_records(self) -> list[Record]:
        """List the plans that are recorded for this graph, library and GPU."""
        here = self.parts({})
        return [record for record in self._records() if runs_here(record.parts, here)]

    def profiles(self) -> list[Profile]:
        """List the profiles of those plans, and of those that would be tried with these weights or here."""
        here, fits = self.parts({}), may_run_here if self._may_adopt else runs_here
        return [profile_of(record) for record in self._records() if fits(record.parts, here)]

    def measure(self, record: Record) -> Verified:
        """Compare a recorded plan with the reference again, wherever it stands to its floor.

        Raises:
            EngineError: the plan is damaged, or TensorRT refuses it.
        """
        plan = self.load(record)
        try:
            return measure_plan(plan, self.graph, self.tensors)
        finally:
            plan.close()

    def find(self, profile: Profile) -> Record | None:
        """Give the record of just this profile, if it is up to date and its plan is whole."""
        record = self.store.find(self.graph.name, self.parts(profile))
        return record if record is not None and self.store.holds(record) else None

    def load(self, record: Record) -> LoadedPlan:
        """Load a recorded plan, whose weights are put in where it has none or others.

        Raises:
            EngineError: the plan is damaged, TensorRT refuses it or its weights, or there is too little memory.
        """
        self._tell(f"loading {record.plan}", 0.0)
        content = self.store.read_plan(record)
        weights = max(len(content), self._weights_bytes)
        self._check_memory(f"{self.graph.name}: {record.plan}", weights + record.scratch_bytes)
        return self._loaded(content, record.weights_inside, profile_of(record))

    def layers(self, record: Record) -> str:
        """Give TensorRT's own report of a recorded plan as JSON: layers, kernels, types.

        Raises:
            EngineError: the plan is damaged, or TensorRT refuses it.
        """
        plan, trt = self.load(record), self._host.trt
        try:
            inspector = plan.engine.create_engine_inspector()
            return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
        finally:
            plan.close()

    def build(self, profile: Profile) -> Record:
        """Build, verify and record a plan, whether there is one or not.

        Raises:
            UsageError: the folder cannot be written.
            EngineError: the build fails, or its engine is below its floor.
        """
        with self.store.building():
            return self._build(profile, self.parts(profile))

    def refit(self, profile: Profile) -> Record:
        """Record that a refittable plan, which differs from the wanted one in its weights only, holds with ours.

        Raises:
            UsageError: there is no such plan.
            EngineError: it does not take the weights, or is below its floor with them.
        """
        with self.store.building():
            stale = [record for record in self._records() if describe(profile_of(record)) == describe(profile)]
            record = self._adopted(stale, self.parts(profile))
        if record is None:
            raise UsageError(
                f"{self.graph.name}: no plan for {describe(profile)} in {self.store.folder} differs in its weights "
                "only and was built to be refitted; build one with: foley build --refittable"
            )
        return record

    def _make(self, profile: Profile, parts: Parts, sizes: dict[str, int]) -> Record:
        stale = self.store.nearest(self.graph.name, parts)
        why = f"the nearest differs in {'; '.join(stale.differences)}" if stale else "there is none yet"
        missing = f"no plan for {describe(profile)} in {self.store.folder}: {why}"
        if not self._host.setup.build:
            raise UsageError(f"{self.graph.name}: {missing}; build it with foley build, or leave --no-build out")
        self._tell(missing, 0.0)
        with self.store.building():
            fitting = self._admitting(sizes)  # somebody may have built it while we waited for the lock
            found = _narrowest([record for record in fitting if runs_here(record.parts, parts)])
            return found or self._tried(fitting, parts) or self._build(profile, parts)

    def _refitted(self, profile: Profile, parts: Parts, sizes: dict[str, int]) -> Record:
        """Adopt a plan; weights that are in use for a while are not worth a build of minutes, and many plans."""
        with self.store.building():
            record = self._adopted(sorted(self._admitting(sizes), key=_breadth), parts)
        if record is None:
            raise UsageError(
                f"{self.graph.name}: no plan for {describe(profile)} in {self.store.folder} takes LoRAs; build one "
                "that does with: foley build --refittable"
            )
        return record

    def _build(self, profile: Profile, parts: Parts) -> Record:
        """Build, verify, and only then record."""
        self.store.prune()
        least = self._weights_bytes + sum(_largest_bytes(spec, profile) for spec in self.tensors[0].values())
        self._check_memory(f"{self.graph.name}: a build for {describe(profile)}", least)
        built = self._built(profile)
        inside = None if self._host.setup.options.stripped else self._weights
        verified, scratch = self._verified(built.content, inside, profile)
        name, sha256 = self.store.write_plan(self.graph.name, built.content)
        record = Record(
            schema=SCHEMA, graph=self.graph.name, parts=parts, profile=_triples(profile), plan=name, sha256=sha256,
            bytes=memoryview(built.content).nbytes, weights_inside=inside, verified=verified, scratch_bytes=scratch,
            build_s=round(built.seconds, 1), created_by=self._versions(),
        )  # fmt: skip
        self.store.write_record(record)
        return record

    def _built(self, profile: Profile) -> Built:
        host = self._host
        host.device.select()
        timings = f"{host.trt.__version__} {host.device.facts.name}"
        built = build_plan(
            host.trt, host.logger, self.spelling.path, profile, host.setup.options,
            timings=self.store.timings(timings), tell=self._tell,
        )  # fmt: skip
        self.store.keep_timings(timings, built.timings)
        return built

    def _tried(self, records: list[Record], here: Parts) -> Record | None:
        """Adopt a plan, or tell why it does not hold here: then one is built."""
        try:
            return self._adopted(records, here)
        except EngineError as error:
            self._tell(str(error), 0.0)
            return None

    def _adopted(self, records: list[Record], here: Parts) -> Record | None:
        """Record a plan that was made for other weights, another GPU or library, once it is verified with ours."""
        for record in records:
            if may_run_here(record.parts, here):
                self._tell(f"trying {record.plan}, which {'; '.join(differences(record.parts, here))}", 0.0)
                content = self.store.read_plan(record)
                verified, _ = self._verified(content, record.weights_inside, profile_of(record))
                new = adopted(record, {**record.parts, **{name: here[name] for name in IDENTITY}}, verified)
                self.store.write_record(new)
                return new
        return None

    def _verified(self, content: Any, inside: str | None, profile: Profile) -> tuple[Verified, int]:  # noqa: ANN401
        """Load a plan that nobody has recorded, and compare it; give the figures and its scratch memory in bytes."""
        self._tell("verifying", 0.0)
        plan = self._loaded(content, inside, profile)
        try:
            return verify_plan(plan, self.graph, self.tensors), int(plan.engine.device_memory_size_v2)
        finally:
            plan.close()

    def _loaded(self, content: Any, inside: str | None, profile: Profile) -> LoadedPlan:  # noqa: ANN401
        host = self._host
        host.device.select()
        engine = host.runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise EngineError(f"{self.graph.name}: TensorRT does not take the plan: {reason(host.logger)}")
        if inside != self._weights:
            put_weights(host.trt, engine, self.spelling.path, host.logger)
        return host.loaded(engine, self.spelling, self.tensors, profile)

    @property
    def _may_adopt(self) -> bool:
        """Whether a plan that was not recorded for these weights here may be tried without being asked for."""
        return self._host.setup.build or self.graph.refit_only

    def _records(self) -> list[Record]:
        return self.store.records(self.graph.name)

    def _admitting(self, sizes: dict[str, int]) -> list[Record]:
        return [record for record in self._records() if admits(profile_of(record), sizes)]

    @property
    def _weights_bytes(self) -> int:
        return self.graph.weights.stat().st_size if self.graph.weights is not None else 0

    def _check_memory(self, what: str, needed: int) -> None:
        free = self._host.device.free_bytes()
        if needed > free:
            raise EngineError(
                f"{what} takes {needed // MIB} MiB of device memory or more, {free // MIB} MiB are free on "
                f"{self._host.device.facts.name}; build for fewer slots or seconds, or end what else runs there"
            )

    def _versions(self) -> dict[str, str]:
        trt, facts = self._host.trt, self._host.device.facts
        return {"TensorRT": trt.__version__, "GPU": facts.name, "Python": platform.python_version()}


def profile_of(record: Record) -> Profile:
    """Give a record's profile."""
    return {symbol: Sizes(*sizes) for symbol, sizes in record.profile.items()}


def _triples(profile: Profile) -> dict[str, tuple[int, int, int]]:
    return {symbol: (sizes.low, sizes.usual, sizes.high) for symbol, sizes in profile.items()}


def _narrowest(records: list[Record]) -> Record | None:
    return min(records, key=_breadth, default=None)


def _breadth(record: Record) -> int:
    return breadth(profile_of(record))


def _largest_bytes(spec: TensorSpec, profile: Profile) -> int:
    return math.prod(span(spec, profile)[2]) * np.dtype(DTYPES[spec.dtype]).itemsize
