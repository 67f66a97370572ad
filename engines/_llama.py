"""Runs llama.cpp in this process: loads a GGUF file, and manages the worker threads."""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import json
import os
import queue
import secrets
import threading
import urllib.request
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, EngineLoadError, GatewayError, ProviderError
from ..hints import Hint

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

SLOTS = 4  # maximum number of concurrent calls; further calls are queued

_BATCH_SIZE = 256  # prompt tokens between callbacks, which limits how long a cancelled call runs
_COUNT_TIMEOUT = 30.0  # seconds; the tokenizer waits until a running prompt has been processed
_JOIN_TIMEOUT = 30.0  # seconds; a large model is slow to process a batch


class LlamaCall:
    """A call that runs in a worker thread and delivers its events to an event loop.

    Args:
        body: The request, as an OpenAI chat completion with ``"stream": True``.
    """

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self._loop = asyncio.get_running_loop()
        self._inbox: asyncio.Queue[dict[str, Any] | GatewayError | None] = asyncio.Queue()
        self._is_stopped = False

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield llama.cpp's events as they arrive.

        Raises:
            GatewayError: If the worker thread fails.
        """
        while (item := await self._inbox.get()) is not None:
            if isinstance(item, GatewayError):
                raise item
            yield item

    def stop(self) -> None:
        """Stop the call at its next event, without waiting for it."""
        self._is_stopped = True

    def run(self, host: LlamaHost) -> None:
        """Run the call in a worker thread and pass its events to the event loop."""
        try:
            if not self._is_stopped:
                host.server().handle_chat_completions(self.body, self._receive)
        except GatewayError as error:
            self._deliver(error)
        except Exception as error:  # noqa: BLE001 - the caller receives every exception
            self._deliver(_rejection(error))
        self._deliver(None)

    def _receive(self, event: dict[str, Any]) -> bool:
        """Receive an event from llama.cpp; return ``True`` to stop the call."""
        self._deliver(event)
        return self._is_stopped

    def _deliver(self, item: dict[str, Any] | GatewayError | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._inbox.put_nowait, item)
        except RuntimeError:  # the loop is closed, so nothing reads events
            self._is_stopped = True


class LlamaHost:
    """A model in a GGUF file, loaded on the first call, and the worker threads that run it.

    The threads are daemons: ``ThreadPoolExecutor`` threads are joined before ``atexit`` handlers
    run, so the process could not exit before the longest answer ended. A daemon thread that returns
    from C++ into a finalized interpreter aborts the process, so `close` runs at exit and waits for
    the threads.

    Args:
        path: The GGUF file.
        context: Context length of each call in tokens, including the reply.
        pull_hint: The hint of the error that is raised if the file cannot be loaded.
    """

    def __init__(self, path: Path, context: int, pull_hint: Hint) -> None:
        self.path = path
        self._pull_hint = pull_hint
        self.is_closing = False
        self._context = context
        self._server: Any = None
        self._key = ""
        self._pid = os.getpid()
        self._calls: queue.SimpleQueue[LlamaCall | None] = queue.SimpleQueue()
        self._running_calls: set[LlamaCall] = set()
        # The lock guards the server and the workers, because concurrent first calls must load the
        # file only once.
        self._lock = threading.Lock()
        self._workers: list[threading.Thread] = []

    def submit(self, call: LlamaCall) -> None:
        """Queue a call for the next free worker."""
        with self._lock:
            if not self._workers:
                self._start_workers()
        self._calls.put(call)

    def server(self) -> Any:  # noqa: ANN401 - xllamacpp is untyped
        """Return the server, loading it on the first call.

        Raises:
            EngineLoadError: If xllamacpp is not installed.
            ConfigError: If the file cannot be loaded.
        """
        with self._lock:
            if self._server is None:
                self._server, self._key = _load(self.path, self._context, self._pull_hint)
                # A forked child has the server but not its threads: destroying it there would hang.
                # With this extra reference, only `close` in the owning process destroys the server.
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._server))
            return self._server

    def count_tokens(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> int:
        """Return the number of tokens in a conversation, including its template.

        Args:
            messages: The messages, as in Chat Completions.
            tools: The tools that the model may call.

        Raises:
            GatewayError: If the file cannot be loaded.
            OSError: If the server does not answer.
        """
        declared_tools = {"tools": tools} if tools else {}
        prompt = self._post("/apply-template", {"messages": messages, **declared_tools})["prompt"]
        body = {"content": prompt, "add_special": True, "parse_special": True}
        return len(self._post("/tokenize", body)["tokens"])

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request to the server's HTTP interface, the only way to reach its tokenizer."""
        url = f"{self.server().listening_address}{path}"
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310
        # Do not use the environment's proxies, because the server is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=_COUNT_TIMEOUT) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    def close(self) -> None:
        """Stop running calls at their next event and free the memory; may be called repeatedly."""
        if os.getpid() != self._pid or self.is_closing:
            return
        self.is_closing = True
        atexit.unregister(self.close)
        for call in tuple(self._running_calls):
            call.stop()
        for _ in self._workers:
            self._calls.put(None)
        for worker in self._workers:
            worker.join(_JOIN_TIMEOUT)
        if self._server is not None and not any(worker.is_alive() for worker in self._workers):
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(self._server))
            self._server = None

    def _start_workers(self) -> None:
        atexit.register(self.close)
        for number in range(SLOTS):
            worker = threading.Thread(
                target=self._run_calls, name=f"gatewayx-local-{number}", daemon=True
            )
            worker.start()
            self._workers.append(worker)

    def _run_calls(self) -> None:
        while (call := self._calls.get()) is not None:
            self._running_calls.add(call)
            if self.is_closing:
                call.stop()
            call.run(self)
            self._running_calls.discard(call)


def _load(path: Path, context: int, pull_hint: Hint) -> tuple[Any, str]:
    """Load a GGUF file; this holds the GIL (for 0.5 s if the file is 98 MB in size).

    Returns:
        The server, and the key of its HTTP interface.
    """
    try:
        import xllamacpp
    except ImportError as error:
        raise EngineLoadError(
            f"the local model requires xllamacpp, which cannot be imported: {error}.",
            hint=Hint("install", extra="local"),
            topic="missing-xllamacpp",
        ) from error
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_parallel = SLOTS
    # The context is split evenly among the slots. A unified cache would let one call use more than
    # its share, but replies would depend on concurrent calls: four identical calls at temperature 0
    # differed.
    params.n_ctx = SLOTS * context
    params.n_batch = _BATCH_SIZE
    params.cache_ram_mib = 0  # the default keeps up to 8 GiB of past prompts
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _thread_count()
    params.warmup = False
    params.ui = False
    params.endpoint_slots = False
    params.n_threads_http = 1
    params.verbosity = -1  # by default, llama.cpp logs to file descriptor 2, which notebooks show
    # The server always listens on loopback; a random key keeps other processes out.
    key = secrets.token_urlsafe(32)
    params.api_keys = [key]
    try:
        return xllamacpp.Server(params), key
    except RuntimeError as error:
        raise ConfigError(
            f"llama.cpp cannot load {str(path)!r}: it is damaged, unsupported or too large for"
            " the available memory.",
            hint=pull_hint,
            topic="weights-not-loaded",
        ) from error


def _thread_count() -> int:
    """Return half of the CPU cores that this process may use, at least 1.

    llama.cpp's threads spin until the slowest one is done. With a thread on every core while
    another program ran, a reply that takes 0.4 s took up to 14 s.
    """
    usable_cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return max(1, (len(usable_cores) or os.cpu_count() or 1) // 2)


def _rejection(error: Exception) -> ProviderError:
    """Return the typed error for a request that llama.cpp rejects, such as an invalid schema."""
    reason = str(error).removeprefix("Unable to generate parser for this template. ")
    return ProviderError(f"the local model rejected the request: {reason}", code="invalid_request")
