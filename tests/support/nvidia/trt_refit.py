"""Refitting in the fake TensorRT: weights by the names of ONNX initializers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import numpy_helper

from support.nvidia.machine import current
from support.nvidia.onnx_network import DTYPES, read_bytes, read_file
from support.nvidia.pybind import NULL, module_of
from support.nvidia.trt_behaviours import BEHAVIOURS, NUMPY, fail
from support.nvidia.trt_engine import EngineState
from support.nvidia.trt_parser import Refusal

does = BEHAVIOURS.does


@dataclass
class RefitterState:
    """A refitter and the weights that it was given."""

    engine: Any
    logger: Any
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def of(self) -> EngineState:
        """The engine's state."""
        state: EngineState = self.engine._fake_state
        return state


@does("Refitter.__init__", required=True)
def make_refitter(refitter: Any, engine: Any, logger: Any) -> None:
    if not engine.refittable:
        fail(logger, "Error Code 3: API Usage Error (Parameter check failed, condition: e.isRefittable())")
        raise TypeError(NULL)
    object.__setattr__(refitter, "_fake_state", RefitterState(engine, logger))


does("Refitter.logger", required=True)(lambda refitter: refitter._fake_state.logger)
BEHAVIOURS.keeps("Refitter", max_threads=1, weights_validation=True, error_recorder=None)


@does("Refitter.get_all_weights", required=True)
def all_weights(refitter: Any) -> list[str]:
    return sorted(refitter._fake_state.of.network.weights())


@does("Refitter.get_missing_weights", required=True)
def missing_weights(refitter: Any) -> list[str]:
    return sorted(refitter._fake_state.of.missing - set(refitter._fake_state.given))


@does("Refitter.set_named_weights", required=True)
def set_named_weights(refitter: Any, name: str, weights: Any, location: Any = None) -> bool:
    """Give new weights; an unknown name, another size or type is refused."""
    if location is not None and location.name != "HOST":
        raise NotImplementedError("the fake refits from host memory only")
    state: RefitterState = refitter._fake_state
    tensor = state.of.network.weights().get(name)
    if tensor is None:
        return bool(fail(state.logger, f"{name} is no name of refittable weights", False))
    value = weights if isinstance(weights, np.ndarray) else weights._fake_state
    if value.size != np.prod(tensor.dims, dtype=np.int64) or value.dtype != NUMPY[DTYPES[tensor.data_type]]:
        return bool(fail(state.logger, f"{name}: {value.size} weights of {value.dtype} do not fit", False))
    state.given[name] = value.reshape(tuple(tensor.dims))
    return True


@does("Refitter.unset_named_weights", required=True)
def unset_named_weights(refitter: Any, weights_name: str) -> bool:
    return refitter._fake_state.given.pop(weights_name, None) is not None


@does("Refitter.get_named_weights", required=True)
def named_weights(refitter: Any, weights_name: str) -> Any:
    given = refitter._fake_state.given.get(weights_name, np.zeros(0, np.float32))
    return module_of(refitter).make("Weights", given.ravel())


@does("Refitter.get_weights_prototype", required=True)
def weights_prototype(refitter: Any, weights_name: str) -> Any:
    tensor = refitter._fake_state.of.network.weights()[weights_name]
    empty = np.zeros(tuple(tensor.dims), NUMPY[DTYPES[tensor.data_type]])
    return module_of(refitter).make("Weights", empty.ravel())


@does("Refitter.refit_cuda_engine", required=True)
def refit(refitter: Any) -> bool:
    """Put the given weights into the engine; refused while some are missing."""
    state: RefitterState = refitter._fake_state
    missing = missing_weights(refitter)
    if missing:
        return bool(fail(state.logger, f"missing {len(missing)} needed weights, {missing[0]} among them", False))
    for name, value in state.given.items():
        state.of.network.replace(name, value)
    state.of.missing -= set(state.given)
    current().counts["refit"] += 1
    _check_identical(state.of)
    return True


@does("Refitter.refit_cuda_engine_async", required=True)
def refit_async(refitter: Any, stream_handle: int) -> bool:
    return refit(refitter)


def _check_identical(engine: EngineState) -> None:
    """Note where an engine for identical weights got others, which makes it behave unpredictably."""
    header = engine.header
    if "REFIT" not in header.flags and engine.network.digest() != header.weights:
        current().fault("an engine built with REFIT_IDENTICAL was refitted with other weights")


@does("OnnxParserRefitter.__init__", required=True)
def make_parser_refitter(parser_refitter: Any, refitter: Any, logger: Any) -> None:
    object.__setattr__(parser_refitter, "_fake_state", (refitter, logger, []))


@does("OnnxParserRefitter.refit_from_file", required=True)
def refit_from_file(parser_refitter: Any, model: str) -> bool:
    return _refit_from(parser_refitter, lambda: read_file(Path(model)))


@does("OnnxParserRefitter.refit_from_bytes", required=True)
def refit_from_bytes(parser_refitter: Any, model: Any, path: str | None = None) -> bool:
    folder = Path(path).parent if path else None
    return _refit_from(parser_refitter, lambda: read_bytes(bytes(memoryview(model)), folder))


def _refit_from(parser_refitter: Any, load: Any) -> bool:
    """Give the refitter every weight of a file; true where all of the engine's were in it and fitted."""
    refitter, logger, errors = parser_refitter._fake_state
    try:
        weights = load().weights()
    except Exception as error:  # onnx and protobuf raise kinds of their own
        errors.append(Refusal("MODEL_DESERIALIZE_FAILED", f"Failed to parse the model: {error}"))
        return bool(fail(logger, errors[-1].desc, False))
    for name in all_weights(refitter):
        if name not in weights or not set_named_weights(refitter, name, numpy_helper.to_array(weights[name])):
            errors.append(Refusal("REFIT_FAILED", f"{name} was not refitted", node_name=name))
    return not errors


does("OnnxParserRefitter.num_errors", required=True)(lambda parser_refitter: len(parser_refitter._fake_state[2]))


@does("OnnxParserRefitter.get_error", required=True)
def refit_error(parser_refitter: Any, index: int) -> Any:
    return module_of(parser_refitter).make("ParserError", parser_refitter._fake_state[2][index])


@does("OnnxParserRefitter.clear_errors", required=True)
def clear_refit_errors(parser_refitter: Any) -> None:
    parser_refitter._fake_state[2].clear()
