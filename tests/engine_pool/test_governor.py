"""The governor uses what counting servers allow, and is hardly ever refused."""

import asyncio

import pytest

from gatewayx_nb.engine_pool.governor import Governor
from gatewayx_nb.errors import ProviderError, RateLimitError, TransportError
from gatewayx_nb.replies import RateLimits, Usage
from gatewayx_nb.secure_config import Rates
from tests.engine_pool.flow_simulation import (
    FixedWindow,
    Simulation,
    SlidingWindow,
    TokenBucket,
    run_virtually,
    stalls,
)

pytestmark = pytest.mark.no_cover  # under coverage, these would take several times as long

KINDS = (FixedWindow, SlidingWindow, TokenBucket)
SERVERS = [
    pytest.param(kind, seconds, id=f"{kind.__name__}-{seconds}")
    for kind in KINDS
    for seconds in (1, 60)
]
UNEVEN_SIZES = (50, 50, 50, 50, 50, 50, 50, 400)


@pytest.mark.parametrize(("kind", "seconds"), SERVERS)
def test_a_reported_limit_is_used_and_kept(kind, seconds):
    """95 % of a limit in the headers is used, and 0.5 % of the requests are refused."""
    server = kind(100 * seconds, seconds)

    simulation = Simulation(requests=server, has_headers=True).run(120)

    assert simulation.share(100, 0, 120) >= 0.95
    assert simulation.refused_share(0, 120) <= 0.005


@pytest.mark.parametrize(("kind", "seconds"), SERVERS)
def test_a_limit_in_the_settings_is_used_and_kept(kind, seconds):
    """95 % of a limit in the settings is used, and no request is refused."""
    server = kind(100 * seconds, seconds)

    simulation = Simulation(requests=server, rates=Rates(requests=6000)).run(120)

    assert simulation.share(100, 0, 120) >= 0.95
    assert not simulation.refused


@pytest.mark.parametrize("estimate", [1.0, 0.7])
@pytest.mark.parametrize("kind", KINDS)
def test_a_reported_token_limit_is_used_and_kept(kind, estimate):
    """Rows of very different sizes, and estimates that are too low, are paced as well."""
    server = kind(600_000, 60)

    simulation = Simulation(
        tokens=server, has_headers=True, sizes=UNEVEN_SIZES, estimate=estimate
    ).run(120)

    assert simulation.share(10_000, 0, 120, of_tokens=True) >= 0.95
    assert simulation.refused_share(0, 120) <= 0.005


def test_a_token_limit_of_each_second_is_used_and_kept():
    """The tokens of each second are limited, even if large and small rows alternate."""
    simulation = Simulation(
        tokens=SlidingWindow(10_000, 1), has_headers=True, sizes=UNEVEN_SIZES
    ).run(40)

    assert simulation.share(10_000, 0, 40, of_tokens=True) >= 0.95
    assert simulation.refused_share(0, 40) <= 0.005


@pytest.mark.parametrize("seed", range(3))
def test_a_busy_machine_hardly_slows_the_pace(seed):
    """Refusals after a stall say nothing about a stated limit, even several in a row."""
    simulation = Simulation(
        requests=SlidingWindow(100, 1),
        has_headers=True,
        changes=stalls(every=1, mean=0.03, until=40, seed=seed),
        seed=seed,
    ).run(40)

    assert simulation.share(100, 0, 40) >= 0.955
    assert simulation.refused_share(0, 40) <= 0.005


def test_a_stated_limit_that_others_share_is_learned():
    """Continued refusals show that less of the limit is left than the headers state."""
    simulation = Simulation(requests=SlidingWindow(50, 1), has_headers=True, overstated=2.0).run(
        240
    )

    assert simulation.share(50, 120, 240) >= 0.85
    assert simulation.refused_share(120, 240) <= 0.02


@pytest.mark.parametrize("retry_after", [False, True])
@pytest.mark.parametrize(("kind", "seconds"), SERVERS)
def test_an_unknown_limit_is_learned(kind, seconds, retry_after):
    """Without headers, 90 % is used after two minutes, and 2 % of the requests are refused."""
    server = kind(100 * seconds, seconds)

    simulation = Simulation(requests=server, retry_after=retry_after).run(240)

    assert simulation.share(100, 120, 240) >= 0.9
    assert simulation.refused_share(0, 240) <= 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_token_limit_is_learned(kind):
    """A token limit without headers is learned as a request rate."""
    simulation = Simulation(tokens=kind(600_000, 60), sizes=UNEVEN_SIZES).run(240)

    assert simulation.share(10_000, 120, 240, of_tokens=True) >= 0.9
    assert simulation.refused_share(120, 240) <= 0.02


@pytest.mark.parametrize(("kind", "seconds"), SERVERS)
def test_a_limit_that_is_halved_is_learned_again(kind, seconds):
    """Two minutes after a limit was halved, 90 % of it is used."""

    def halve(simulation):
        simulation.requests.limit /= 2

    server = kind(100 * seconds, seconds)

    simulation = Simulation(requests=server, changes=((60, halve),)).run(300)

    assert simulation.share(50, 180, 300) >= 0.9
    assert simulation.refused_share(60, 300) <= 0.02


def test_a_limit_that_is_raised_is_found():
    """A limit that is doubled is used after some minutes, because the learned one grows."""

    def double(simulation):
        simulation.requests.limit *= 2

    server = TokenBucket(100, 1)

    simulation = Simulation(requests=server, changes=((60, double),)).run(300)

    assert simulation.share(200, 240, 300) >= 0.9


@pytest.mark.parametrize("clients", [60, 400])
@pytest.mark.parametrize("latency", [0.05, 0.2, 2.0])
def test_a_limit_on_concurrent_requests_is_learned(clients, latency):
    """A server that serves 40 requests at once is kept busy, and refuses 2 % of the requests."""
    simulation = Simulation(at_once=40, clients=clients, latency=latency).run(240)

    assert simulation.share(40 / latency, 120, 240) >= 0.8
    assert simulation.refused_share(120, 240) <= 0.02


def test_calls_in_flight_are_bounded():
    """The settings' concurrency is kept, and named as the limiting factor."""
    simulation = Simulation(clients=30, concurrency=7).run(10)

    (pace,) = simulation.paces
    assert simulation.peak == pace.in_flight == pace.window == 7
    assert (pace.waiting, pace.bound_by) == (23, "concurrency")
    assert simulation.governor.pace.in_flight == simulation.governor.pace.waiting == 0


def test_no_second_exceeds_the_rate():
    """No second has more requests than its share of a minute's limit, and one at the start."""
    simulation = Simulation(rates=Rates(requests=6000), clients=300).run(20)

    starts = [at for at, _ in simulation.accepted]
    for first in starts[::50]:
        assert sum(first <= at < first + 1 for at in starts) <= 101


def run_with_governor(make_coroutine, rates=None, concurrency=512):
    """Run a coroutine that is made from a governor and its virtual loop."""

    async def run(loop):
        governor = Governor(loop)
        governor.configure(rates or Rates(), concurrency)
        return await make_coroutine(governor, loop)

    return run_virtually(run)


def admission(governor, *arguments, **keywords):
    """Return a task that waits for admission."""
    return asyncio.ensure_future(governor.admit(governor.ticket(), *arguments, **keywords))


def test_requests_are_admitted_in_order_whatever_their_size():
    """A large request is not overtaken: it puts the bucket in debt, and the next ones wait."""

    async def ask(governor, loop):
        order = []

        async def one(name, tokens):
            await governor.admit(governor.ticket(), tokens)
            order.append((name, round(loop.time() - start, 1)))

        start = loop.time()
        sizes = {"small": 60, "large": 540, "last": 1}
        await asyncio.gather(*(one(name, tokens) for name, tokens in sizes.items()))
        return order

    order = run_with_governor(ask, Rates(tokens=600))

    assert [name for name, _ in order] == ["small", "large", "last"]
    assert order[1][1] == pytest.approx(60 / 9.8, abs=0.1)
    assert order[2][1] == pytest.approx(600 / 9.8, abs=0.2)


@pytest.mark.parametrize("limits", [None, RateLimits(tokens=1000), RateLimits(input_tokens=1000)])
def test_a_request_larger_than_a_minutes_limit_fails(limits):
    """It would never be accepted, so it fails at once instead of blocking the others."""

    async def ask(governor, _):
        if limits:
            with governor.try_admit() as permit:
                governor.note_limits(permit, limits)
        with pytest.raises(
            RateLimitError, match=r"at most 1,000 tokens.*got about 1,001"
        ) as caught:
            await governor.admit(governor.ticket(), 1001)
        return caught.value

    error = run_with_governor(ask, None if limits else Rates(tokens=1000))

    assert error.should_retry is False
    assert "max_tokens" in str(error)


def test_a_cancelled_wait_neither_takes_a_permit_nor_delays_others():
    """Requests behind a cancelled one are admitted in order, even if it was just admitted."""

    async def ask(governor, _):
        permit = governor.try_admit()
        waits = [admission(governor) for _ in range(4)]
        await asyncio.sleep(0.1)
        waits[1].cancel()
        await asyncio.sleep(0.1)
        assert governor.pace.waiting == 3
        with permit:
            pass
        waits[0].cancel()  # it has been admitted, but does not know yet
        await asyncio.sleep(0.1)
        done = [wait.done() for wait in waits]
        with waits[2].result():
            pass
        await asyncio.sleep(0.1)
        return done, waits[3].done(), governor.pace

    done, is_last_done, pace = run_with_governor(ask, concurrency=1)

    assert done == [True, True, True, False]
    assert is_last_done
    assert (pace.in_flight, pace.waiting) == (1, 0)


def test_a_refused_request_keeps_its_place():
    """A request that is sent again comes before those that arrived later."""

    async def ask(governor, _):
        ticket = governor.ticket()
        permit = governor.try_admit()
        later = admission(governor)
        with pytest.raises(RateLimitError), permit:
            raise RateLimitError("no", retry_after=5.0)
        again = asyncio.ensure_future(governor.admit(ticket))
        await asyncio.sleep(6)
        return again.done(), later.done()

    assert run_with_governor(ask, concurrency=1) == (True, False)


def refuse(governor, retry_after=None):
    """Send a request that is refused."""
    with pytest.raises(RateLimitError), governor.try_admit():
        raise RateLimitError("slow down.", retry_after=retry_after)


def test_retry_after_pauses_all_calls():
    """No request is admitted during the pause; then they are paced, not sent all at once."""

    async def ask(governor, loop):
        permits = [governor.try_admit() for _ in range(20)]
        await asyncio.sleep(0.5)
        for permit in permits[:10]:
            with permit:
                pass
        start = loop.time()
        with pytest.raises(RateLimitError), governor.try_admit():
            raise RateLimitError("slow down.", retry_after=30.0)
        times = []

        async def one():
            with await governor.admit(governor.ticket()):
                times.append(loop.time() - start)

        waits = asyncio.gather(*(one() for _ in range(20)))
        await asyncio.sleep(1)
        pace = governor.pace
        await waits
        return times, pace, start + 30

    times, pace, end = run_with_governor(ask)

    assert times[0] == pytest.approx(30, abs=0.01)
    assert times[-1] > 30.5
    assert pace.bound_by == "pause asked by the provider"
    assert pace.paused_until == pytest.approx(end)
    assert (pace.waiting, pace.refusals) == (20, 1)


def test_a_pause_longer_than_a_minute_fails_interactive_calls():
    """Interactive calls fail at once with the remaining time, already waiting or not."""

    async def ask(governor, _):
        permit = governor.try_admit()
        waiting = admission(governor)
        await asyncio.sleep(0)
        with pytest.raises(RateLimitError), permit:
            raise RateLimitError("slow down.", retry_after=300.0)
        with pytest.raises(RateLimitError, match=r"slow down\.") as early:
            await waiting
        await asyncio.sleep(100)
        with pytest.raises(RateLimitError) as late:
            await admission(governor)
        return early.value.retry_after, late.value.retry_after

    early, late = run_with_governor(ask, concurrency=1)

    assert early == pytest.approx(300)
    assert late == pytest.approx(200, abs=0.1)


@pytest.mark.parametrize("retry_after", [None, 1.0, 3600.0])
def test_patience_ends_after_nothing_but_refusals(retry_after):
    """A patient request is admitted again and again, until refusals are all there is."""

    async def ask(governor, loop):
        start, ticket = loop.time(), governor.ticket()
        while not governor.refused_for(60.0):
            permit = await governor.admit(ticket, patience=60.0)
            governor.release(permit, RateLimitError("slow down.", retry_after=retry_after))
        return loop.time() - start

    seconds = run_with_governor(ask)

    assert seconds < 1 if retry_after == 3600.0 else 50 <= seconds <= 70


def test_an_answer_renews_the_patience():
    """Refusals count from the last answer on, and from the last minute without any call."""

    async def ask(governor, _):
        refuse(governor)
        await asyncio.sleep(50)
        with governor.try_admit():
            pass
        await asyncio.sleep(50)
        refuse(governor)
        after_answer = governor.refused_for(60.0)
        await asyncio.sleep(100)
        refuse(governor)
        return after_answer, governor.refused_for(60.0)

    assert run_with_governor(ask) == (False, False)


def test_other_errors_are_not_refusals():
    """A provider's error is an answer; a failed connection is neither answer nor refusal."""

    async def ask(governor, _):
        for error in (ProviderError("x", status=500), TransportError("x"), ValueError("x")):
            with pytest.raises(type(error)), governor.try_admit():
                raise error
        return governor.pace

    pace = run_with_governor(ask)

    assert (pace.in_flight, pace.refusals, pace.rate) == (0, 0, None)
    assert pace.bound_by == "the provider's speed"


def test_refusals_of_one_burst_are_one_congestion():
    """Sixty refusals of a hundred requests sent together lower the limit once."""
    simulation = Simulation(at_once=40, clients=100, latency=60.0).run(1)

    assert len(simulation.refused) == 60
    assert simulation.paces[0].window == 36
    assert simulation.paces[0].bound_by == "the provider's refusals"


def test_what_is_left_for_other_clients_slows_the_pace():
    """If another client has used most of a window, the rest lasts until the window is reset."""

    async def ask(governor, loop):
        with governor.try_admit() as permit:
            governor.note_limits(
                permit, RateLimits(requests=6000, requests_left=60, requests_reset=30.0)
            )
        slow = governor.pace.rate
        await asyncio.sleep(31)
        return slow, governor.pace.rate

    slow, later = run_with_governor(ask)

    assert slow == pytest.approx(2)
    assert later == pytest.approx(98)


@pytest.mark.parametrize("number", [0, -1, float("nan"), float("inf"), 10**400])
def test_invalid_limits_are_unknown(number):
    """An engine may report any number; one that makes no sense is ignored."""

    async def ask(governor, _):
        with governor.try_admit() as permit:
            governor.note_limits(
                permit,
                RateLimits(
                    requests=number,
                    requests_left=number,
                    requests_reset=number,
                    tokens=number,
                ),
            )
        permits = [governor.try_admit(100) for _ in range(100)]
        return permits, governor.pace.rate

    permits, rate = run_with_governor(ask)

    assert all(permits)
    assert rate is None


def test_the_stricter_limit_counts():
    """The lower of the settings' and the headers' limits is used."""

    async def ask(governor, _):
        with governor.try_admit() as permit:
            governor.note_limits(permit, RateLimits(requests=6000))
        both = governor.pace.rate
        governor.configure(Rates(requests=60_000), 512)
        reported = governor.pace.rate
        governor.forget()
        return both, reported, governor.pace.rate

    rates = run_with_governor(ask, Rates(requests=600))

    assert rates == tuple(map(pytest.approx, (9.8, 98.0, 980.0)))


def test_a_share_of_every_limit_is_used():
    """If other processes use the rest, a limit from the settings or the headers is divided."""

    async def ask(governor, _):
        rates = [governor.pace.rate]
        governor.set_share(0.25)
        rates.append(governor.pace.rate)
        with governor.try_admit() as permit:
            governor.note_limits(permit, RateLimits(requests=300, tokens=1000))
        rates.append(governor.pace.rate)
        governor.set_share(0.5)
        rates.append(governor.pace.rate)
        governor.configure(Rates(requests=120), 512)
        rates.append(governor.pace.rate)
        permit = await governor.admit(governor.ticket(), 1000)  # a whole one may use all
        with pytest.raises(RateLimitError, match="at most 1,000 tokens"):
            await governor.admit(governor.ticket(), 1001)
        return rates

    rates = run_with_governor(ask, Rates(requests=600))

    expected = [9.8, 9.8 / 4, 4.9 / 4, 4.9 / 2, 1.96 / 2]
    assert rates == list(map(pytest.approx, expected))


def test_output_tokens_are_paced_by_what_answers_use():
    """Anthropic limits output tokens separately; those of answers slow the next calls."""

    async def ask(governor, loop):
        limits = RateLimits(input_tokens=60_000, output_tokens=6000, tokens=1)
        with governor.try_admit() as permit:
            governor.note_limits(permit, limits)
        with governor.try_admit(10, 100_000) as permit:
            permit.usage = Usage(input_tokens=10, output_tokens=970)
        start = loop.time()
        await governor.admit(governor.ticket(), 10)
        return loop.time() - start

    assert run_with_governor(ask) == pytest.approx(10, abs=0.5)


class UnreadableError(RateLimitError):
    """An engine's error whose attributes cannot be read."""

    @property
    def __dict__(self):
        raise SystemExit


@pytest.mark.parametrize("error", [UnreadableError("x"), RateLimitError.__new__(RateLimitError)])
def test_an_engines_incomplete_error_is_a_refusal(error):
    """An engine's own error may lack its fields, and does not keep its place in flight."""

    async def ask(governor, _):
        with pytest.raises(RateLimitError), governor.try_admit():
            raise error
        return governor.pace

    pace = run_with_governor(ask)

    assert (pace.in_flight, pace.refusals) == (0, 1)


def test_one_refusal_despite_a_stated_limit_pauses_and_teaches_nothing():
    """After a start, a provider may refuse once; the stated limit stays in force."""

    async def ask(governor, _):
        refuse(governor)
        paused = governor.try_admit()
        await asyncio.sleep(0.6)
        with await governor.admit(governor.ticket()):
            pass
        return paused, governor.pace.rate

    paused, rate = run_with_governor(ask, Rates(requests=6000))

    assert paused is None
    assert rate == pytest.approx(98)


def test_requests_before_a_limit_is_known_count_for_a_second():
    """After an initial burst, the first paced request waits until a second has passed."""

    async def ask(governor, loop):
        start = loop.time()
        permits = [governor.try_admit() for _ in range(50)]
        await asyncio.sleep(0.2)
        for permit in permits:
            with permit:
                governor.note_limits(permit, RateLimits(requests=6000))
        await governor.admit(governor.ticket())
        return loop.time() - start

    assert run_with_governor(ask) == pytest.approx(1, abs=0.01)
