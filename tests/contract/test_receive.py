"""The receiver: what waits for a database that hangs is bounded, and told to come back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_incoming.core import admission
from airflow_incoming.core.admission import AdmissionPolicy
from airflow_incoming.core.errors import (
    BodyTooLarge,
    DatabaseUnavailable,
    EndpointNotFound,
    Overloaded,
    RateLimited,
    Stopping,
    Unauthorized,
    Undecided,
    UnsupportedMediaType,
)
from airflow_incoming.core.integration import parse_configuration
from airflow_incoming.core.messages import Endpoint, Event, LiveSecret, Outcome, Request, VerificationKey
from airflow_incoming.core.tokens import TokenPolicy, mint
from airflow_incoming.core.units import Rate
from airflow_incoming.services.rates import Rates
from airflow_incoming.services.receive import (
    INLINE_BODY,
    INLINE_CONTAINERS,
    MAX_WAITING,
    THREADS,
    Receiver,
)
from airflow_incoming.stores.directory import Snapshot
from tests.contract.samples import INTEGRATION, NOW, VERSION

JSON = {"content-type": "application/json"}


class HangingDirectory:
    """Knows nothing at once, and everything when the database answers."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.answers = threading.Event()
        self.snapshot = Snapshot(revision=1, read_at=0, endpoints={endpoint.endpoint_id: endpoint})
        self.known: Snapshot | None = None

    def current(self) -> Snapshot | None:
        return self.known

    def refresh_soon(self) -> None:
        pass

    def fresh(self) -> Snapshot:
        if not self.answers.wait(10):
            raise DatabaseUnavailable
        return self.snapshot


class Taker:
    """Accepts whatever comes."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def submit(self, event: Event) -> Future[Outcome]:
        self.events.append(event)
        future: Future[Outcome] = Future()
        future.set_result(Outcome(status="accepted", event_id=event.id))
        return future


class Bystander:
    """Takes note of refusals."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, type[Exception], str | None, int]] = []

    def settled(self, event: Event, size: int, future: Future[Outcome]) -> None:
        pass

    def refused(self, path: str, error: Exception, *, remote: str | None, size: int) -> None:
        self.noted.append((path, type(error), remote, size))


class House:
    def __init__(self, rates: Any = None) -> None:
        configuration = parse_configuration({"limits": {"rate": "5000/m"}})
        endpoint = Endpoint(
            endpoint_id="e",
            integration_id=INTEGRATION,
            name="orders",
            version_id=VERSION,
            configuration=configuration,
        )
        self.directory = HangingDirectory(endpoint)
        self.taker = Taker()
        self.bystander = Bystander()
        self.seconds = 0.0
        self.rates = rates or Rates(None, monotonic=lambda: self.seconds)
        policy = AdmissionPolicy(
            max_body=2**20, max_conf=2**20, max_parameters=100, tokens=TokenPolicy(leeway=timedelta(0))
        )
        directory: Any = self.directory
        unused: Any = None  # nobody listens
        self.receiver = Receiver(
            directory,
            self.taker,
            policy,
            capturing=unused,
            tally=self.bystander,
            clock=lambda: NOW,
            rates=self.rates,
            failure_rate=Rate(10, 60),
            accept_timeout=10,
            monotonic=lambda: self.seconds,
        )

    def post(self, body: bytes = b'{"a": 1}') -> Future[Outcome]:
        return self.receiver.receive(Request(endpoint_id="e", body=body, headers=JSON))


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.directory.answers.set()
    house.receiver.close()


def test_a_burst_waits_for_the_directory_and_is_accepted(house: House) -> None:
    """After an idle second the first requests wait for one look at the database."""
    futures = [house.post() for _ in range(300)]
    assert not any(future.done() for future in futures)
    house.directory.answers.set()
    assert {future.result(10).status for future in futures} == {"accepted"}


def test_what_waits_is_bounded_in_number_and_bytes(house: House) -> None:
    """A database that hangs doesn't fill the memory with bodies."""
    large = [house.post(b'{"a": "' + b"x" * 900_000 + b'"}') for _ in range(100)]
    refused = [future for future in large if future.done()]
    assert 25 <= len(refused) <= 35
    for future in refused:
        with pytest.raises(Overloaded):
            future.result(0)
    small = [house.post() for _ in range(MAX_WAITING)]
    assert any(future.done() for future in small)


def test_what_waited_too_long_is_not_decided_any_more(house: House) -> None:
    """Its sender was told 503 long ago, and may have sent it again."""
    late = [house.post() for _ in range(10)]
    house.seconds = 10.5
    timely = house.post()
    house.directory.answers.set()
    assert timely.result(10).status == "accepted"
    for future in late[2:]:  # two were in the hands of the threads already
        with pytest.raises(Undecided):
            future.result(10)


def test_places_are_given_back(house: House) -> None:
    """After a flood has passed, everything is accepted again."""
    house.directory.answers.set()
    for _ in range(3):
        futures = [house.post() for _ in range(MAX_WAITING)]
        assert {future.result(10).status for future in futures} == {"accepted"}
    house.directory.known = house.directory.snapshot
    assert house.post().result(0).status == "accepted"


def test_the_rate_of_an_integration(house: House) -> None:
    """What is over it is refused with the time to wait."""
    house.directory.known = house.directory.snapshot
    for _ in range(5000):
        house.post()
    with pytest.raises(RateLimited) as refused:
        house.post().result(0)
    assert refused.value.retry_after == pytest.approx(60 / 5000)


class SlowRates:
    """Counts when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Future[float]]] = []

    def take(self, key: str, rate: Rate) -> Future[float]:
        self.asked.append((key, Future()))
        return self.asked[-1][1]


def test_a_rate_that_is_counted_elsewhere_blocks_nobody_and_comes_before_the_intake() -> None:
    """Whoever is over it never reaches the intake, so nothing is refused that was stored."""
    house = House(SlowRates())
    house.directory.known = house.directory.snapshot
    futures = [house.post() for _ in range(3)]
    assert not any(future.done() for future in futures)
    assert house.taker.events == []
    assert {key for key, _ in house.rates.asked} == {f"integration:{INTEGRATION}"}
    for (_, taken), wait in zip(house.rates.asked, (0.0, 7.5, 0.0), strict=True):
        taken.set_result(wait)
    assert [future.result(0).status for future in futures[::2]] == ["accepted", "accepted"]
    with pytest.raises(RateLimited) as refused:
        futures[1].result(0)
    assert refused.value.retry_after == 7.5
    assert len(house.taker.events) == 2
    house.receiver.close()


def test_an_intake_that_breaks_after_that_is_told(house: House) -> None:
    """Nobody waits for ever for what went wrong on another thread."""
    slow = House(SlowRates())
    slow.directory.known = slow.directory.snapshot
    slow.taker.events = None  # type: ignore[assignment]
    future = slow.post()
    slow.rates.asked[0][1].set_result(0.0)
    with pytest.raises(AttributeError):
        future.result(0)
    slow.receiver.close()


def test_an_integration_without_a_rate_counts_nothing() -> None:
    """No round trip that nobody asked for."""
    house = House(SlowRates())
    (endpoint,) = house.directory.snapshot.endpoints.values()
    free = replace(endpoint, configuration=parse_configuration({}))
    house.directory.known = replace(house.directory.snapshot, endpoints={"e": free})
    assert house.post().result(0).status == "accepted"
    assert house.rates.asked == []
    house.receiver.close()


def test_a_closed_receiver_refuses(house: House) -> None:
    """Nobody is left waiting."""
    house.receiver.close()
    with pytest.raises(Stopping):
        house.post().result(0)


@pytest.mark.parametrize(
    "large",
    [b'{"a": "%s"}' % (b"x" * INLINE_BODY), b'{"a": "%s"}' % (b"[" * INLINE_CONTAINERS)],
    ids=["long", "many"],
)
def test_a_small_request_never_waits_behind_large_ones(large: bytes, house: House) -> None:
    """Whatever large bodies are being parsed or wait for it: small ones have ways of their own."""
    house.directory.known = house.directory.snapshot
    released, parsing = threading.Event(), threading.Barrier(THREADS + 1)

    def stuck(request: Request, snapshot: Snapshot) -> Future[Outcome]:
        parsing.wait(10)
        released.wait(10)
        return decide(request, snapshot)

    decide = house.receiver._decide
    house.directory.answers.set()
    house.receiver._decide = stuck  # type: ignore[method-assign]
    stuck_ones = [house.post(large) for _ in range(THREADS)]
    parsing.wait(10)
    house.receiver._decide = decide  # type: ignore[method-assign]
    waiting = [house.post(large) for _ in range(5)]
    assert house.post().done(), "with a fresh directory a small one is decided at once"
    house.directory.known = None
    assert house.post().result(5).status == "accepted", "with a stale one after a look at the database"
    assert not any(one.done() for one in (*stuck_ones, *waiting))
    released.set()
    assert {one.result(10).status for one in (*stuck_ones, *waiting)} == {"accepted"}


KEYED = Endpoint(
    endpoint_id="k",
    integration_id=INTEGRATION,
    name="keyed",
    version_id=VERSION,
    configuration=parse_configuration({"auth": {"type": "jwt", "api_key": "shop"}, "limits": {"body": 10}}),
    key=VerificationKey(key_id="shop", secrets=(LiveSecret(secret=b"s" * 32),)),
)


@pytest.fixture
def knowing(house: House) -> House:
    """A house that knows an open endpoint, ``e``, and one with JWT, ``k``."""
    snapshot = house.directory.snapshot
    house.directory.known = replace(snapshot, endpoints={**snapshot.endpoints, "k": KEYED})
    return house


def bearer() -> dict[str, str]:
    return {**JSON, "authorization": f"Bearer {mint('shop', b's' * 32, TokenPolicy(), now=NOW)}"}


@pytest.mark.parametrize(
    ("endpoint_id", "headers", "error"),
    [
        ("nobody", JSON, EndpointNotFound),
        ("k", JSON, Unauthorized),
        ("k", {**JSON, "authorization": "Bearer a.b.c"}, Unauthorized),
        ("k", {}, Unauthorized),
        ("e", {}, UnsupportedMediaType),
        ("e", {**JSON, "content-encoding": "gzip"}, UnsupportedMediaType),
        ("k", bearer(), BodyTooLarge),
        ("k", {**bearer(), "content-type": "text/x"}, UnsupportedMediaType),
    ],
)
def test_a_head_is_refused_as_the_whole_request_would_be(
    knowing: House, endpoint_id: str, headers: dict[str, str], error: type[Exception]
) -> None:
    """The same error, noted with the same size, for what the body is changes nothing."""
    whole = Request(endpoint_id=endpoint_id, body=b'{"a": "longer"}', headers=headers, remote="192.0.2.1")
    head = replace(whole, body=b"", announced=len(whole.body))
    screened = knowing.receiver.screen(head)
    assert isinstance(screened, Future)
    told = [type(future.exception(5)) for future in (screened, knowing.receiver.receive(whole))]
    assert told == [error, error]
    assert knowing.bystander.noted == [(endpoint_id, error, "192.0.2.1", 15)] * 2


def test_failed_heads_are_counted_as_failed_requests_are(knowing: House) -> None:
    """Ten a minute of an address, whatever of each was read."""
    head = Request(endpoint_id="k", body=b"", headers=JSON, remote="192.0.2.1")
    told = []
    for look in (knowing.receiver.screen, knowing.receiver.receive) * 6:
        future = look(head)
        assert isinstance(future, Future)
        told.append(type(future.exception(5)))
    assert told == [Unauthorized] * 10 + [RateLimited] * 2


def test_a_head_that_is_let_in_is_not_looked_at_again(knowing: House) -> None:
    """Unless the endpoint has become another since; nobody outside says what was let in."""
    head = Request(endpoint_id="k", body=b"", headers=bearer(), announced=8)
    assert knowing.receiver.screen(head) is KEYED
    whole = replace(head, body=b'{"a": 1}', headers=JSON)
    assert knowing.receiver.receive(replace(whole, admitted=KEYED)).result(5).status == "accepted"
    for other in (None, replace(KEYED)):
        with pytest.raises(Unauthorized):
            knowing.receiver.receive(replace(whole, admitted=other)).result(5)


def test_a_head_waits_for_its_body_where_the_directory_is_stale_or_the_scheme_needs_it(
    knowing: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then nothing is decided, and nothing noted."""
    head = Request(endpoint_id="k", body=b"", headers=JSON)
    monkeypatch.setattr(admission, "PROVEN_BY_HEAD", frozenset({"none"}))
    assert knowing.receiver.screen(head) is None
    knowing.directory.known = None
    assert knowing.receiver.screen(replace(head, endpoint_id="nobody")) is None
    assert knowing.bystander.noted == []
