"""llama.cpp in this process: one loaded file, the threads that wait for it, and its end."""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import os
import queue
import secrets
import threading
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, EngineLoadError, GatewayError, ProviderError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

SLOTS = 4  # answers at once; further calls wait their turn

_BATCH = 256  # tokens of a prompt between two callbacks: how long a cancelled call may go on
_PATIENCE = 30.0  # seconds; a batch of a large model on a slow machine takes some


class Call:
    """One question on its way through a worker thread, heard on an event loop.

    Args:
        body: The request, as an OpenAI chat completion with ``"stream": True``.
    """

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self._loop = asyncio.get_running_loop()
        self._inbox: asyncio.Queue[dict[str, Any] | GatewayError | None] = asyncio.Queue()
        self._stopped = False

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield llama.cpp's events as they come.

        Raises:
            GatewayError: What went wrong on the worker.
        """
        while (item := await self._inbox.get()) is not None:
            if isinstance(item, GatewayError):
                raise item
            yield item

    def stop(self) -> None:
        """Let the answer end at its next event. Never waits."""
        self._stopped = True

    def run(self, host: Host) -> None:
        """Ask, on a worker thread, and hand everything over to the loop."""
        try:
            if not self._stopped:
                host.server().handle_chat_completions(self.body, self._receive)
        except GatewayError as error:
            self._hand(error)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the one who asked
            self._hand(_refusal(error))
        self._hand(None)

    def _receive(self, event: dict[str, Any]) -> bool:
        """Take an event inside llama.cpp, which goes on unless this returns ``True``."""
        self._hand(event)
        return self._stopped

    def _hand(self, item: dict[str, Any] | GatewayError | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._inbox.put_nowait, item)
        except RuntimeError:  # the loop was closed: nobody listens any more
            self._stopped = True


class Host:
    """One GGUF file, loaded when it is first asked, and the threads that ask it.

    The threads are daemons of our own: those of an executor are joined before ``atexit``, so that
    an exit would wait for the longest answer; and a daemon that comes back from C++ into an
    interpreter that is gone aborts the process, so `close` runs at exit and waits for them.

    Args:
        path: The file.
        context: Tokens of prompt and answer together, for each call.
    """

    def __init__(self, path: Path, context: int) -> None:
        self.path = path
        self.closing = False
        self._context = context
        self._server: Any = None
        self._pid = os.getpid()
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._running: set[Call] = set()
        # Guards the server and the workers: several calls come first at once, and must load once.
        self._lock = threading.Lock()
        self._workers: list[threading.Thread] = []

    def submit(self, call: Call) -> None:
        """Queue a call for the next free worker."""
        with self._lock:
            if not self._workers:
                self._start()
        self._calls.put(call)

    def server(self) -> Any:  # noqa: ANN401 - xllamacpp has no types
        """Give the loaded server; the first call waits for it.

        Raises:
            EngineLoadError: xllamacpp is not installed.
            ConfigError: The file cannot be loaded.
        """
        with self._lock:
            if self._server is None:
                self._server = _load(self.path, self._context)
                # A forked child has the server but not its threads: destroying it there would
                # wait for ever. With this reference only the owner's `close` destroys it.
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._server))
            return self._server

    def close(self) -> None:
        """End running answers at their next event and free the memory. Again: does nothing."""
        if os.getpid() != self._pid or self.closing:
            return
        self.closing = True
        atexit.unregister(self.close)
        for call in tuple(self._running):
            call.stop()
        for _ in self._workers:
            self._calls.put(None)
        for worker in self._workers:
            worker.join(_PATIENCE)
        if self._server is not None and not any(worker.is_alive() for worker in self._workers):
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(self._server))
            self._server = None

    def _start(self) -> None:
        atexit.register(self.close)
        for number in range(SLOTS):
            worker = threading.Thread(
                target=self._work, name=f"gatewayx-local-{number}", daemon=True
            )
            worker.start()
            self._workers.append(worker)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            self._running.add(call)
            if self.closing:
                call.stop()
            call.run(self)
            self._running.discard(call)


def _load(path: Path, context: int) -> Any:  # noqa: ANN401 - xllamacpp has no types
    """Load a file. Holds the GIL throughout: 0.5 s for 98 MB."""
    try:
        import xllamacpp
    except ImportError as error:
        raise EngineLoadError(
            f"The local model needs xllamacpp, which cannot be imported: {error}.",
            mend='pip install "gatewayx-nb[local]"',
        ) from error
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_parallel = SLOTS
    # Shared out among the slots in equal parts. A unified cache would let one call take more, but
    # then an answer depends on its neighbours: four of the same at temperature 0 differed.
    params.n_ctx = SLOTS * context
    params.n_batch = _BATCH
    params.cache_ram_mib = 0  # else up to 8 GiB of past prompts
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
    params.warmup = False
    params.ui = False
    params.endpoint_slots = False
    params.n_threads_http = 1
    params.verbosity = -1  # else it writes to file descriptor 2, which a notebook shows
    # It listens on loopback too, whether wanted or not: nobody else knows this key.
    params.api_keys = [secrets.token_urlsafe(32)]
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise ConfigError(
            f"llama.cpp cannot load {str(path)!r}: it is damaged, of a kind it does not know, or"
            " larger than the memory.",
            mend="%gatewayx pull smollm2",
        ) from error


def _threads() -> int:
    """Give half of the processors that this process may use.

    llama.cpp's threads spin until the slowest of them is done. Where they take every processor and
    something else runs too, an answer of 0.4 s took up to 14 s.
    """
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return max(1, (len(usable) or os.cpu_count() or 1) // 2)


def _refusal(error: Exception) -> ProviderError:
    """Give the typed error for what llama.cpp raises before it starts: a bad schema, a bad body."""
    reason = str(error).removeprefix("Unable to generate parser for this template. ")
    return ProviderError(f"The local model refuses the request: {reason}", code="invalid_request")
