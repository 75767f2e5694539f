"""A bounded queue between two threads that can end, and be cut off, from either side."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Channel(Generic[Item]):
    """Hands items from one thread to another; a full channel makes the writer wait.

    Args:
        capacity: Items held at most.
    """

    def __init__(self, capacity: int) -> None:
        self._items: deque[Item] = deque()
        self._capacity = capacity
        self._is_finished = False
        self._is_cut = False
        self._changed = threading.Condition()

    def put(self, item: Item) -> bool:
        """Wait for room and add ``item``; False when the channel was cut and ``item`` was dropped."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_cut or len(self._items) < self._capacity)
            if self._is_cut:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self) -> Item | None:
        """Wait for an item; None after the last one, or when the channel was cut."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_cut or self._is_finished or self._items)
            if self._is_cut or not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def finish(self) -> None:
        """Say that nothing more will be put; what is inside is still handed out."""
        with self._changed:
            self._is_finished = True
            self._changed.notify_all()

    def cut(self) -> None:
        """End at once: waiting writers and readers return, items inside are dropped."""
        with self._changed:
            self._is_cut = True
            self._items.clear()
            self._changed.notify_all()
