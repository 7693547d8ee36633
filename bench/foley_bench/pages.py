"""Tables that a measurement writes into a page, each between two markers of its own."""

from dataclasses import dataclass

from foley.errors import UsageError


@dataclass(frozen=True)
class Block:
    """The part of a page between `<!-- NAME:begin -->` and `<!-- NAME:end -->`."""

    name: str

    def read(self, text: str) -> str:
        """Give what stands between the markers.

        Raises:
            UsageError: a marker is missing.
        """
        return self._split(text)[1].strip()

    def replace(self, text: str, content: str) -> str:
        """Give the page with other content between the markers.

        Raises:
            UsageError: a marker is missing.
        """
        head, _, tail = self._split(text)
        return f"{head}{self._begin}\n{content}\n{self._end}{tail}"

    @property
    def _begin(self) -> str:
        return f"<!-- {self.name}:begin -->"

    @property
    def _end(self) -> str:
        return f"<!-- {self.name}:end -->"

    def _split(self, text: str) -> tuple[str, str, str]:
        head, begin, rest = text.partition(self._begin)
        content, end, tail = rest.partition(self._end)
        if not (begin and end):
            raise UsageError(f"the page lacks {self._begin} … {self._end}; put the two markers where its tables belong")
        return head, content, tail
