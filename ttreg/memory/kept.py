"""Limits a cache by bytes, not by number of items."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Kept(Generic[Key]):
    """The keys of a cache's items, up to a total of bytes. The least recently used go first; the newest always stays.

    There is no lock: a garbage collection or a fork could find it taken. Instead, each step is one that no other thread
    can interrupt.
    """

    def __init__(self, most: int):
        self.most = most
        self.nbytes = 0
        self._sizes: OrderedDict[Key, int] = OrderedDict()  # the least recently used first

    def __len__(self) -> int:
        return len(self._sizes)

    def add(self, key: Key, nbytes: int) -> Iterator[Key]:
        """Note a new item; yield the keys of the items that have to go for it."""
        self.drop(key)
        self._sizes[key] = nbytes
        self.nbytes += nbytes
        while self.nbytes > self.most and len(self._sizes) > 1:
            try:
                oldest, size = self._sizes.popitem(last=False)
            except KeyError:  # another thread has emptied it
                return
            self.nbytes -= size
            yield oldest

    def used(self, key: Key) -> None:
        """Note that an item was used."""
        if key in self._sizes:
            self._sizes[key] = self._sizes.pop(key, 0)

    def drop(self, key: Key) -> None:
        """Note that an item is no longer kept."""
        self.nbytes -= self._sizes.pop(key, 0)
