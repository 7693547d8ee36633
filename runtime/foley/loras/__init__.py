"""LoRAs at run time: low-rank updates added to a copy of a bundle's weights, before an engine reads them.

`lora.py` is what a caller gives, `file.py` reads one, `names.py` knows the names that trainers write, `matching.py`
finds the matrices that are meant, `update.py` computes their new values, `overlay.py` holds the files with them.
"""

from foley.loras.lora import Lora, checked_loras, parse_lora
from foley.loras.overlay import Overlay, write_overlay

__all__ = ["Lora", "Overlay", "checked_loras", "parse_lora", "write_overlay"]
