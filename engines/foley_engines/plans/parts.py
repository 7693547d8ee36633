"""What a plan depends on, part by part, so that a stale one can be told with the part that differs."""

import hashlib
import json
from collections.abc import Mapping
from typing import Final

KEY_DIGITS: Final = 16

Parts = Mapping[str, str]
"""Part → value, both in words."""


def key_of(parts: Parts) -> str:
    """Digest parts to the name under which a plan's record is kept."""
    return hashlib.sha256(json.dumps(dict(parts), sort_keys=True).encode()).hexdigest()[:KEY_DIGITS]


def differences(found: Parts, wanted: Parts) -> list[str]:
    """Word every part that differs: `TensorRT 10.3.0 → 11.4.0`; long digests are cut."""
    names = [*wanted, *(name for name in found if name not in wanted)]
    return [
        f"{name} {_short(found.get(name))} → {_short(wanted.get(name))}"
        for name in names
        if found.get(name) != wanted.get(name)
    ]


def _short(value: str | None) -> str:
    if value is None:
        return "(none)"
    return f"{value[:8]}…" if len(value) == 64 and set(value) <= set("0123456789abcdef") else value
