"""How much is kept for later: by bytes, not by number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Kept(Generic[Key]):
    """The keys of what someone keeps, up to a number of bytes in all; the longest unused give way, the last one stays.

    Each step is one that no other thread can interrupt, so that there is no lock, which a garbage collection that
    lets go of something here, or a fork, could find taken.
    """

    def __init__(self, most: int):
        self.most = most
        self.nbytes = 0
        self._sizes: OrderedDict[Key, int] = OrderedDict()  # the longest unused first

    def __len__(self) -> int:
        return len(self._sizes)

    def add(self, key: Key, nbytes: int) -> Iterator[Key]:
        """Note that something is kept from now on; gives the keys of what has to go for it."""
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
        """Note that something was used."""
        if key in self._sizes:
            self._sizes[key] = self._sizes.pop(key, 0)

    def drop(self, key: Key) -> None:
        """Note that something is kept no longer."""
        self.nbytes -= self._sizes.pop(key, 0)
