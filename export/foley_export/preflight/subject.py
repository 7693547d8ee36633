"""What the rules look at: one graph in one spelling, for one target, with its tensors at a profile's sizes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
from onnx import defs

from foley.manifest import Graph
from foley_engines.profiles import Profile
from foley_export.preflight.findings import Finding, Severity
from foley_export.preflight.folding import attributes_of
from foley_export.preflight.target import Target
from foley_export.preflight.values import Inference, Value, infer, opset_of, schema_of


@dataclass(frozen=True)
class Subject:
    """A graph under check."""

    name: str
    file: Path
    model: onnx.ModelProto
    """Without its weights, and with model-local functions written out."""
    record: Graph
    target: Target
    profile: Profile

    @cached_property
    def largest(self) -> Inference:
        """The tensors at the profile's largest sizes."""
        return infer(self.model, {symbol: sizes.high for symbol, sizes in self.profile.items()})

    @cached_property
    def least(self) -> Inference:
        """The tensors at the profile's least sizes."""
        return infer(self.model, {symbol: sizes.low for symbol, sizes in self.profile.items()})

    @property
    def values(self) -> Mapping[str, Value]:
        """The tensors at the profile's largest sizes, by name."""
        return self.largest.values

    @property
    def opset(self) -> int:
        """The version of ONNX's operators that the graph imports."""
        return opset_of(self.model)

    def nodes(self) -> Iterator["Node"]:
        """Go over the graph's own nodes, without those of bodies."""
        return (Node(self, node) for node in self.model.graph.node)

    def all_nodes(self) -> Iterator["Node"]:
        """Go over every node, those of bodies included."""
        return (Node(self, node) for node in _deep(self.model.graph))

    def finding(self, place: str, rule: str, message: str, severity: Severity = "error") -> Finding:
        """Say something of the graph, or of a tensor of it."""
        return Finding(self.name, place, "", rule, message, severity)


@dataclass(frozen=True)
class Node:
    """A node, with what is known of its tensors."""

    subject: Subject
    proto: onnx.NodeProto

    @property
    def operator(self) -> str:
        """The operator's name, without its domain."""
        return self.proto.op_type

    @property
    def name(self) -> str:
        """The node's name, or its output's where it has none."""
        return self.proto.name or f"(the node of {next(iter(self.proto.output), 'no output')})"

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """The attributes that are written down, by name."""
        return attributes_of(self.proto)

    @property
    def schema(self) -> defs.OpSchema | None:
        """ONNX's definition of the operator."""
        return schema_of(self.subject.model, self.proto)

    @cached_property
    def inputs(self) -> list[Value | None]:
        """The inputs; None for one that is left out or not known."""
        return [self.subject.values.get(name) if name else None for name in self.proto.input]

    @cached_property
    def outputs(self) -> list[Value | None]:
        """The outputs; None for one that is left out or not known."""
        return [self.subject.values.get(name) if name else None for name in self.proto.output]

    def input(self, index: int) -> Value | None:
        """Give an input, None where it is left out or not known."""
        return self.inputs[index] if index < len(self.inputs) else None

    def has_input(self, index: int) -> bool:
        """Say whether an input is there."""
        return index < len(self.proto.input) and bool(self.proto.input[index])

    def has_output(self, index: int) -> bool:
        """Say whether an output is asked for."""
        return index < len(self.proto.output) and bool(self.proto.output[index])

    def rank(self, index: int) -> int | None:
        """Give an input's rank, None where it is not known."""
        value = self.input(index)
        return None if value is None or value.shape is None else len(value.shape)

    def finding(self, rule: str, message: str, severity: Severity = "error") -> Finding:
        """Say something of this node."""
        return Finding(self.subject.name, self.name, self.operator, rule, message, severity)


def _deep(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for body in bodies(node):
            yield from _deep(body)


def bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Give the graphs inside a node."""
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]
