"""Counting servers and their clients on a virtual clock, so that minutes take no time."""

import asyncio
import random
from collections import deque
from dataclasses import dataclass, field
from functools import partial

from gatewayx_nb.engine_pool.governor import Governor
from gatewayx_nb.errors import RateLimitError
from gatewayx_nb.replies import RateLimits, Usage
from gatewayx_nb.secure_config import Rates


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is advanced by waiting."""

    def __init__(self):
        super().__init__()
        self.now = 1020.0  # a multiple of a minute
        select = self._selector.select

        def skip(timeout):
            self.now += max(timeout or 0.0, 1e-6)  # a clock always advances
            return select(0)

        self._selector.select = skip

    def time(self):
        """Return the virtual time."""
        return self.now


def run_virtually(make_coroutine):
    """Run a coroutine on a virtual clock; it is created from the loop."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(make_coroutine(loop))
    finally:
        loop.close()


class FixedWindow:
    """At most ``limit`` units in each window, which begin at multiples of its length."""

    def __init__(self, limit, seconds):
        self.limit, self.seconds = limit, seconds
        self.window, self.used = None, 0

    def accept(self, now, amount):
        """Count an amount, and return whether it is within the limit."""
        if now // self.seconds != self.window:
            self.window, self.used = now // self.seconds, 0
        if self.used + amount > self.limit:
            return False
        self.used += amount
        return True

    def delay(self, now):
        """Return the seconds until a request may be accepted again."""
        return self.seconds - now % self.seconds

    def left(self, now):
        """Return what is left, and the seconds until everything is."""
        self.accept(now, 0)
        return self.limit - self.used, self.seconds - now % self.seconds


class SlidingWindow:
    """At most ``limit`` units in any window of this length."""

    def __init__(self, limit, seconds):
        self.limit, self.seconds = limit, seconds
        self.log, self.used = deque(), 0

    def accept(self, now, amount):
        """Count an amount, and return whether it is within the limit."""
        while self.log and self.log[0][0] <= now - self.seconds:
            self.used -= self.log.popleft()[1]
        if self.used + amount > self.limit:
            return False
        self.log.append((now, amount))
        self.used += amount
        return True

    def delay(self, now):
        """Return the seconds until a request may be accepted again."""
        return self.log[0][0] + self.seconds - now

    def left(self, now):
        """Return what is left, and the seconds until everything is."""
        self.accept(now, 0)
        return self.limit - self.used, self.seconds


class TokenBucket:
    """A bucket of ``limit`` units that is refilled within this time."""

    def __init__(self, limit, seconds):
        self.limit, self.seconds = limit, seconds
        self.level, self.at = limit, 0.0

    def accept(self, now, amount):
        """Count an amount, and return whether it is within the limit."""
        rate = self.limit / self.seconds
        self.level = min(self.limit, self.level + (now - self.at) * rate)
        self.at = now
        if amount > self.level:
            return False
        self.level -= amount
        return True

    def delay(self, now):
        """Return the seconds until a request may be accepted again."""
        return self.seconds / self.limit

    def left(self, now):
        """Return what is left, and the seconds until everything is."""
        self.accept(now, 0)
        return int(self.level), (self.limit - self.level) * self.seconds / self.limit


def stalls(every, mean, until, seed):
    """Return changes that stop the clock's users, as on a busy machine, at random.

    Args:
        every: Mean seconds between two stalls.
        mean: Mean seconds of a stall.
        until: Time after which there are none.
        seed: Seed of the random numbers.
    """
    rng, at, changes = random.Random(seed), 0.0, []
    while (at := at + rng.expovariate(1 / every)) < until:
        seconds = rng.expovariate(1 / mean)
        changes.append((at, partial(_stall, seconds)))
    return tuple(changes)


def _stall(seconds, simulation):
    simulation.loop.now += seconds


class AtOnce:
    """At most ``limit`` requests at the same time."""

    def __init__(self, limit):
        self.limit, self.open = limit, 0


@dataclass
class Simulation:
    """A server with limits, and clients that send requests through a governor.

    Attributes:
        requests: The limit of requests, if any.
        tokens: The limit of tokens, if any.
        at_once: The number of requests that the server serves at the same time.
        has_headers: Whether answers report the limits of a minute.
        overstated: The factor by which what they report is higher than the limit.
        retry_after: Whether refusals say when to try again.
        clients: Requests that the clients send at the same time.
        latency: Mean seconds that an answer takes.
        sizes: The tokens of the requests, in turn.
        rates: The limits of the settings.
        changes: Functions to call at a time.
        estimate: Estimated tokens for each token that the server counts.
    """

    requests: object = None
    tokens: object = None
    at_once: int = 10**9
    has_headers: bool = False
    overstated: float = 1.0
    retry_after: bool = False
    clients: int = 100
    concurrency: int = 512
    latency: float = 0.2
    sizes: tuple = (100,)
    rates: Rates = field(default_factory=Rates)
    changes: tuple = ()
    estimate: float = 1.0
    seed: int = 0

    def __post_init__(self):
        self.random = random.Random(self.seed)
        self.open = 0
        self.accepted, self.refused = [], []  # (time, tokens)
        self.peak = 0
        self.paces = []

    def run(self, seconds):
        """Run for a virtual time."""
        run_virtually(lambda loop: self._run(loop, seconds))
        return self

    def share(self, limit, since, until, *, of_tokens=False):
        """Return the units accepted in this time as a share of a limit per second."""
        used = sum(size if of_tokens else 1 for at, size in self.accepted if since <= at < until)
        return used / (limit * (until - since))

    def refused_share(self, since, until):
        """Return the share of requests in this time that were refused."""
        refused = sum(since <= at < until for at, _ in self.refused)
        accepted = sum(since <= at < until for at, _ in self.accepted)
        return refused / max(1, refused + accepted)

    async def _run(self, loop, seconds):
        self.start, self.loop = loop.time(), loop
        self.governor = Governor(loop)
        for at, change in self.changes:
            loop.call_later(at, change, self)
        clients = [loop.create_task(self._client(number)) for number in range(self.clients)]
        await asyncio.sleep(seconds)
        self.paces.append(self.governor.pace)
        for client in clients:
            client.cancel()
        await asyncio.wait(clients)

    async def _client(self, number):
        while True:
            size = self.sizes[number % len(self.sizes)]
            number += 1
            await self.call(size)

    async def call(self, size):
        """Send a request until it is accepted."""
        governor, ticket = self.governor, self.governor.ticket()
        estimate = int(size * self.estimate)
        while True:
            governor.configure(self.rates, self.concurrency)
            permit = governor.try_admit(estimate) or await governor.admit(
                ticket, estimate, patience=600.0
            )
            try:
                with permit:
                    return await self._send(permit, size)
            except RateLimitError:
                pass

    async def _send(self, permit, size):
        await asyncio.sleep(self.random.uniform(0.002, 0.006))
        now = self.loop.time()
        if not self._accepts(now, size):
            self.refused.append((now - self.start, size))
            await asyncio.sleep(self.random.uniform(0.002, 0.006))
            raise RateLimitError("slow down.", status=429, retry_after=self._delay(now))
        self.accepted.append((now - self.start, size))
        limits = self._limits(now) if self.has_headers else None
        self.open += 1
        self.peak = max(self.peak, self.open)
        await asyncio.sleep(self.random.lognormvariate(-0.045, 0.3) * self.latency)
        self.open -= 1
        await asyncio.sleep(self.random.uniform(0.002, 0.006))
        permit.usage = Usage(input_tokens=size, output_tokens=0)
        if limits:
            self.governor.note_limits(permit, limits)

    def _accepts(self, now, size):
        if self.open >= self.at_once:
            return False
        if self.tokens and not self.tokens.accept(now, size):
            return False
        return not self.requests or self.requests.accept(now, 1)

    def _delay(self, now):
        if not self.retry_after:
            return None
        return (self.requests or self.tokens).delay(now)

    def _limits(self, now):
        values = {}
        for name, server in (("requests", self.requests), ("tokens", self.tokens)):
            if server:
                left, reset = server.left(now)
                values[name] = int(server.limit * 60 / server.seconds * self.overstated)
                if server.seconds == 60:
                    values[f"{name}_left"], values[f"{name}_reset"] = left, reset
        return RateLimits(**values)
