"""A bounded store that forgets what is finished before what is not."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Shelf(Generic[T]):
    """Every operation costs the same however much it holds."""

    def __init__(self, *, capacity: int) -> None:
        self._capacity = capacity
        self._open: OrderedDict[str, T] = OrderedDict()
        self._finished: OrderedDict[str, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open) + len(self._finished)

    def get(self, key: str) -> T | None:
        return self._open[key] if key in self._open else self._finished.get(key)

    def values(self) -> list[T]:
        return [*self._finished.values(), *self._open.values()]

    def put(self, key: str, value: T) -> T | None:
        """Keeps a new, unfinished value; returns the one that it displaces, if any."""
        displaced = self._pop_oldest() if len(self) >= self._capacity else None
        self._open[key] = value
        return displaced

    def finish(self, key: str) -> None:
        if key in self._open:
            self._finished[key] = self._open.pop(key)

    def reopen(self, key: str) -> None:
        if key in self._finished:
            self._open[key] = self._finished.pop(key)

    def _pop_oldest(self) -> T:
        """The one that has been finished longest; where none is finished, the oldest."""
        _, oldest = (self._finished or self._open).popitem(last=False)
        return oldest
