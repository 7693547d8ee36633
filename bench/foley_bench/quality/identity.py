"""Digests of what was measured and of what measured it, so that an older row is never taken for another's."""

import hashlib
from pathlib import Path
from types import ModuleType
from typing import Final

import msgspec

from foley.bundle import Bundle
from foley_bench import prompt_following
from foley_bench.fidelity import frechet
from foley_bench.quality import asks
from foley_bench.quality import frechet as features
from foley_export.demo_model import captions, corpus, mel, scenes, sounds

DIGITS: Final = 16
MEASURES: Final[tuple[ModuleType, ...]] = (captions, corpus, mel, scenes, sounds, asks, features, frechet)
"""The modules that decide what a figure is: which captions, real sounds and distance; all checks are with them."""


def bundle_digest(bundle: Bundle) -> str:
    """Digest what decides a bundle's sounds: its manifest and with it all files, but not who wrote it, nor defaults."""
    facts = msgspec.to_builtins(bundle.manifest)
    kept = {name: fact for name, fact in facts.items() if name not in ("created_by", "defaults")}
    return _short(msgspec.json.encode(kept, order="deterministic"))


def yardstick() -> str:
    """Digest the sources of `MEASURES` and of the checks: after any change to them figures are measured anew."""
    checks = sorted(Path(str(prompt_following.__file__)).parent.glob("*.py"))
    sources = [*(Path(str(module.__file__)) for module in MEASURES), *checks]
    return _short(b"\0".join(source.read_bytes() for source in sources))


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGITS]
