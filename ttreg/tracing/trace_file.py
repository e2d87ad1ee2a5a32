"""A file in Chrome's trace-event format, which Perfetto and chrome://tracing open."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from ..errors import SettingsError
from ..forks import new_lock, tell

_log = logging.getLogger(__name__)

_END = b"\n]\n"
_ENCODER = json.JSONEncoder(separators=(",", ":"))


class TraceFile:
    """The events of this process's sessions: each session is a process of the trace, each of its lanes a thread.

    An event is written as soon as it has ended, on a line of its own, with the closing bracket behind it, which the
    next one overwrites: the file is whole at any time, also after a crash, and nothing of it is kept in memory.
    """

    def __init__(self, path: Path):
        self.path = path
        self._start = 0
        self._pid = os.getpid()
        self._lock = new_lock()
        self._given_up = False
        self._processes = 0
        self._lanes = 0
        fd = self._open(os.O_CREAT)
        try:
            os.ftruncate(fd, 0)
            self._end = os.pwrite(fd, b"[", 0)
            os.pwrite(fd, _END, self._end)
        except OSError:  # no file, but a pipe, say
            os.close(fd)
            raise
        self._fd: int | None = fd
        tell(self)

    def forked(self) -> None:
        """Close the file in a forked process, which must not write to it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def is_there(self) -> bool:
        """Whether the file is unchanged since the last event, so that more can be written."""
        if self._given_up or os.getpid() != self._pid:
            return False
        with self._lock:
            try:
                return os.stat(self.path).st_size == self._end + len(_END)
            except OSError:
                return False

    def process(self, title: str) -> int:
        """Add a session, and return its number."""
        with self._lock:
            self._start = self._start or perf_counter_ns()  # now that the device is open, which takes seconds
            self._processes += 1
            process = self._processes
        self._describe("process_name", process, 0, {"name": title})
        return process

    def lane(self, process: int, title: str) -> int:
        """Add a lane to a session, and return its number."""
        with self._lock:
            self._lanes += 1
            lane = self._lanes
        self._describe("thread_name", process, lane, {"name": title})
        self._describe("thread_sort_index", process, lane, {"sort_index": lane})
        return lane

    def range(
        self, name: str, category: str, process: int, lane: int, start: int, end: int, args: dict[str, Any]
    ) -> None:
        """Write an event that began and ended then, in nanoseconds of `time.perf_counter_ns`."""
        event = {"name": name, "cat": category, "ph": "X", "ts": (start - self._start) / 1000}
        self._write(event | {"dur": (end - start) / 1000, "pid": process, "tid": lane, "args": args})

    def close(self) -> None:
        """Close the file; a later event opens it again."""
        with self._lock:
            if self._fd is not None and os.getpid() == self._pid:
                os.ftruncate(self._fd, self._end + len(_END))  # the rest of an interrupted write
                os.close(self._fd)
                self._fd = None

    def _describe(self, what: str, process: int, lane: int, args: dict[str, Any]) -> None:
        self._write({"name": what, "ph": "M", "pid": process, "tid": lane, "args": args})

    def _write(self, event: dict[str, Any]) -> None:
        if self._given_up or os.getpid() != self._pid:  # a forked process must not write to it
            return
        line = _ENCODER.encode(event).encode()
        with self._lock:
            try:
                if self._fd is None:
                    self._fd = self._open_again()
                text = (b"\n" if self._end == 1 else b",\n") + line
                os.pwrite(self._fd, text + _END, self._end)
                self._end += len(text)
            except OSError as error:  # the program continues, because its results do not depend on the trace
                self._given_up = True
                _log.warning("the trace %s ends here: %s", self.path, error)

    def _open(self, flags: int = 0) -> int:
        fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC | flags, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise BlockingIOError("another process is writing to it") from None
        except OSError:  # a file system without locks
            pass
        return fd

    def _open_again(self) -> int:
        fd = self._open()
        if os.fstat(fd).st_size != self._end + len(_END):
            os.close(fd)
            raise OSError("it is no longer the file that was begun")
        return fd


_files: dict[Path, TraceFile] = {}
_lock = new_lock()


def trace_file(name: str) -> TraceFile:
    """The file of that name: a new one, or the one that earlier sessions of this process have begun.

    Raises SettingsError if it cannot be written.
    """
    path = Path(os.path.abspath(name))
    with _lock:
        begun = _files.get(path)
        if begun is not None and begun.is_there():
            return begun
        try:
            _files[path] = TraceFile(path)
        except OSError as error:
            reason = error.strerror or error
            raise SettingsError(
                f"trace is {name!r}, which cannot be written: {reason}; name a file in a folder that exists"
            ) from None
        return _files[path]
