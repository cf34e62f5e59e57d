"""Every answer that a gateway makes itself says why, in a word that the documentation explains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.codec.choose import LIMITS, listener_codec
from gateway.codec.events import Data, ErrorCode, Event, RequestHead, Reset, Response, ResponseHead
from gateway.codec.headers import ATTEMPT, REASON, find
from gateway.codec.http2.engine import available_engines, http2_codec
from gateway.codec.limits import FLOOD, MALFORMED, NOT_HTTP, PROTOCOL, STREAM_LIMIT
from gateway.failover.retry import Failure
from gateway.failover.target import LocalTarget, RemoteTarget, Target
from gateway.request.attempt import Attempt
from gateway.request.refusal import STATUS_OF_REASON
from gateway.route import LOCAL_ORIGIN, Origin
from gateway.traffic import Retries, Timeouts, Traffic
from gateway.worker.request_path import NOT_ALLOWED, SOURCE_NOT_BELIEVED
from gateway.worker.turned_away import CONNECTION_LIMIT
from tests.exchange_play import Play

PAGE = (Path(__file__).parents[2] / "docs/reference/reasons.md").read_text()
DOCUMENTED = {
    (reason, int(status)) for reason, status in re.findall(r"^\| `([-a-z0-9]+)` \| (\d+) \|", PAGE, re.MULTILINE)
}
ONLY_COUNTED = {"downstream-reset", "idle-timeout"}
PLACES: list[Target] = [LocalTarget("h:1"), LocalTarget("h:2"), RemoteTarget("west"), RemoteTarget("eu")]
BY_PEERS = [b"no-healthy-upstream", b"connect-failure", b"overflow", b"upstream-timeout", b"made-up", b""]

_steps = st.one_of(
    st.tuples(st.just("lose"), st.just(0)),
    st.tuples(st.just("reset"), st.sampled_from([ErrorCode.INTERNAL_ERROR, ErrorCode.PROTOCOL_ERROR])),
    st.tuples(st.just("refuse"), st.just(0)),
    st.tuples(st.just("answer"), st.sampled_from([200, 404, 502, 503, 504])),
    st.tuples(st.just("head"), st.sampled_from([200, 503])),
    st.tuples(st.just("wait"), st.sampled_from([1, 3, 30, 400])),
    st.tuples(st.just("send"), st.just(0)),
)


def apply(play: Play, kind: str, value: int, said: bytes) -> None:
    if kind == "wait":
        play.wait_until(play.now + value)
    elif kind == "send":
        if not play.exchange.request_ended and play.down.handlers:
            play.send(Data(1, b"x", True))
    elif play.upstreams and play.upstreams[-1][2].handlers:
        if kind == "lose":
            play.lose()
            return
        attempt = play.upstreams[-1][2].handlers[1]
        if isinstance(attempt, Attempt) and attempt.status and kind in ("answer", "head"):
            return
        headers = [(REASON, said)] if said and value >= 500 and isinstance(play.asked[-1], RemoteTarget) else []
        events: dict[str, Event] = {
            "reset": Reset(1, value),
            "refuse": Reset(1, ErrorCode.REFUSED_STREAM, unprocessed=True),
            "answer": Response(1, ResponseHead(value, headers), True),
            "head": Response(1, ResponseHead(value, headers), False),
        }
        play.answer(events[kind])


@settings(max_examples=200)
@example([RemoteTarget("west")], b"GET", False, False, True, set(), [(("head", 503), b"upstream-timeout")], "")
@given(
    st.lists(st.sampled_from(PLACES), unique=True, max_size=4),
    st.sampled_from([b"GET", b"POST", b"CONNECT", b"HEAD"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sets(st.sampled_from(PLACES)),
    st.lists(st.tuples(_steps, st.sampled_from(BY_PEERS)), max_size=8),
    st.sampled_from(["", "", NOT_ALLOWED, SOURCE_NOT_BELIEVED]),
)
def test_an_answer_of_ours_has_its_reason(
    places: list[Target],
    method: bytes,
    grpc: bool,
    from_peer: bool,
    routed: bool,
    overflows: set[Target],
    steps: list[tuple[tuple[str, int], bytes]],
    objection: str,
) -> None:
    """Whatever happens to a request: what the client gets is an upstream's, or has a reason that is documented with its
    status; and what was never answered is counted under a word that is documented as well."""
    headers = [(b"content-type", b"application/grpc"), (b"grpc-timeout", b"20S")] if grpc else []
    play = Play(
        *places,
        method=method,
        ended=method in (b"GET", b"HEAD"),
        routed=routed,
        headers=[*headers, (ATTEMPT, b"1;last=2")],
        origin=Origin(peer="west") if from_peer else LOCAL_ORIGIN,
        traffic=Traffic(Timeouts(request_s=25.0, attempt_s=2.0), Retries(hedge_after_s=0.5)),
    )
    play.overflows = overflows
    play.objects_with = (objection, "") if objection else None
    play.hedge_after_s = 0.5
    play.begin()
    for (kind, value), said in steps:
        apply(play, kind, value, said)
    play.exchange.timer and play.wait_until(10_000.0)
    assert len(play.outcomes) == 1, "a request ends once, whatever happens"
    status, reason = play.outcomes[0]
    heads = play.client.heads
    assert len(heads) <= 1
    if reason in ONLY_COUNTED:
        assert f"`{reason}`" in PAGE
    elif reason:
        by_page = {page_status for page_reason, page_status in DOCUMENTED if page_reason == reason}
        assert by_page, f"{reason} is not in reasons.md"
        # An upstream's answer that had begun may be broken off, and may have said anything before.
        if play.client.said[-1][0] != "reset":
            assert (find(heads[0].headers, REASON), status in by_page) == (reason.encode(), True)
    if heads and not reason:
        assert heads[0].status in (200, 404, 502, 503, 504)


def test_the_documented_reasons_are_those_that_a_peer_may_say() -> None:
    """One list in the code and one in the page: what a peer says is believed if it is there with that status."""
    said = {(reason.decode(), status) for reason, status in STATUS_OF_REASON.items()}
    assert said <= DOCUMENTED
    failures = {failure.value for failure in Failure if failure is not Failure.STATUS}
    assert {reason for reason, _ in said} == failures | {
        NOT_ALLOWED,
        SOURCE_NOT_BELIEVED,
        "no-route",
        "downstream-timeout",
    }


@pytest.mark.parametrize(("reason", "status"), [(b"made-up", 503), (b"no-healthy-upstream", 502)])
def test_a_reason_that_a_peer_makes_up_is_its_endpoints(reason: bytes, status: int) -> None:
    """What a peer says ends in our metrics, whose labels must stay few: it is passed on, and not taken for ours."""
    grpc = [(b"content-type", b"application/grpc")]
    play = Play(RemoteTarget("west"), method=b"POST", ended=True, headers=grpc)
    play.begin()
    play.answer(Response(1, ResponseHead(status, [(REASON, reason)]), True))
    assert play.outcomes == [(status, "")]


@given(st.binary(max_size=200))
def test_whatever_is_said_on_a_listener_gets_a_reason(sent: bytes) -> None:
    """Bytes at random: a refusal of the codec's has a status and a reason, and the page has both."""
    codec = listener_codec("auto")
    codec.receive(b"G" + sent)
    answer = codec.data_to_send()
    if answer.startswith(b"HTTP/1.1 "):
        assert_documented(answer)


def assert_documented(answer: bytes) -> None:
    status = int(answer.split()[1])
    reason = re.search(rb"\r\nisthmus-reason: ([-a-z0-9]+)\r\n", answer)
    assert reason is not None
    assert (reason[1].decode(), status) in DOCUMENTED


BAD = {
    "malformed-head": b"GET / HTTP/1.1\nhost: a\r\n\r\n",
    "malformed-host": b"GET / HTTP/1.1\r\n\r\n",
    "malformed-target": b"GET * HTTP/1.1\r\nhost: a\r\n\r\n",
    "malformed-chunk": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
    "malformed-trailer": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx\r\n\r\n",
    "malformed-upgrade": b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "unknown-expectation": b"POST / HTTP/1.1\r\nhost: a\r\nexpect: x\r\ncontent-length: 1\r\n\r\n",
    "header-limit": b"GET / HTTP/1.1\r\nhost: a\r\nx: %b\r\n\r\n" % (b"y" * LIMITS.header_bytes),
    "unknown-method": b"FOO / HTTP/1.1\r\nhost: a\r\n\r\n",
    "unknown-coding": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
    "unknown-version": b"GET / HTTP/1.2\r\nhost: a\r\n\r\n",
}


@pytest.mark.parametrize("reason", BAD)
def test_each_fault_of_http1(reason: str) -> None:
    codec = listener_codec("auto")
    codec.receive(BAD[reason])
    assert codec.failure is not None
    assert codec.failure.code == reason
    assert_documented(codec.data_to_send())


def test_a_slow_head() -> None:
    codec = listener_codec("auto")
    codec.receive(b"GET / HT")
    codec.expire_head()
    assert_documented(codec.data_to_send())


@pytest.mark.parametrize("engine", available_engines())
def test_too_many_fields_on_http2(engine: str) -> None:
    server, client = (http2_codec(engine, client=side, limits=LIMITS) for side in (False, True))
    fields = [(b"x-%d" % i, b"y") for i in range(LIMITS.header_count + 1)]
    client.send_request(RequestHead(b"GET", b"http", b"a", b"/", fields), True)
    server.receive(client.data_to_send())
    (answer,) = [event for event in client.receive(server.data_to_send()) if isinstance(event, Response)]
    assert (find(answer.head.headers, REASON).decode(), answer.head.status) in DOCUMENTED


def test_what_ends_a_connection_without_an_answer_is_explained() -> None:
    """The second table of connections: each code that a listener may count, and none that nothing gives."""
    rows = re.findall(r"^\| (`[^|]+`) \| (?:all|`[^|]+`) \|", PAGE, re.MULTILINE)
    explained = {reason for row in rows for reason in re.findall(r"`([-a-z0-9]+)`", row)}
    of_codecs = {FLOOD, STREAM_LIMIT, PROTOCOL, NOT_HTTP, MALFORMED}
    of_handshakes = {"overload", "handshake-timeout", "handshake-failed", "tls-version", "connection-lost", "no-h2"}
    assert explained == of_codecs | of_handshakes | {"no-route", "not-ready", "internal-error"}


def test_the_page_explains_nothing_else() -> None:
    """A reason that nothing gives is worse than none. Those of requests come from `Failure` and from the exchange."""
    of_requests = {"no-route", "downstream-timeout"} | {reason for reason, _ in DOCUMENTED if "upstream" in reason}
    of_requests |= {"connect-failure", "refused-stream", "overflow", SOURCE_NOT_BELIEVED, NOT_ALLOWED}
    assert {reason for reason, _ in DOCUMENTED} == of_requests | set(BAD) | {"slow-head", CONNECTION_LIMIT}
