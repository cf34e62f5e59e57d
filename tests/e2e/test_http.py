"""HTTP between clusters: bodies both ways, in every form that HTTP has for them, over two gateways."""

from __future__ import annotations

import random

import pytest

from gateway.demo.lab import Lab
from tests.lab_clients import Answer, Http1, Http2, pieces

pytestmark = pytest.mark.processes

BODY = random.Random(5).randbytes(3_000_000)


def words_of(answer: Answer) -> bytes:
    """What the service says. Mostly it is west's; a machine that stands still for a moment may have another cluster
    answer, which is not what these tests are about."""
    return f"payments in {answer.headers['served-by']}\n".encode()


def test_http1_body_with_a_length_comes_back(lab: Lab) -> None:
    """A body far larger than every window goes there and back while it is still being sent."""
    with Http1(lab["east"].addresses.http) as client:
        length = [("content-length", str(len(BODY)))]
        answer = client.ask("POST", lab.authority("payments"), "/echo", pieces(BODY, 50_000), length)
    assert answer.status == 200
    assert answer.body == BODY


def test_http1_chunked_body_comes_back(lab: Lab) -> None:
    """Chunks of odd sizes, and the connection is good for another request afterwards."""
    with Http1(lab["east"].addresses.http) as client:
        answer = client.ask("POST", lab.authority("payments"), "/echo", pieces(BODY, 33_333))
        assert answer.body == BODY
        again = client.ask("GET", lab.authority("payments"), "/")
    assert again.body == words_of(again)


def test_http2_bodies_come_back_side_by_side(lab: Lab) -> None:
    """Several large bodies share one connection and one tunnel, and none gets another one's bytes."""
    bodies = [random.Random(seed).randbytes(700_000) for seed in range(4)]
    with Http2(lab["east"].addresses.http) as client:
        answers = client.ask_all(("POST", lab.authority("payments"), "/echo", body) for body in bodies)
    assert [answer.body for answer in answers] == bodies


def test_large_download(lab: Lab) -> None:
    """A response with a length, larger than what a gateway holds."""
    size_bytes = 8_000_000
    for client_of in (Http1, Http2):
        with client_of(lab["east"].addresses.http) as client:
            answer = client.ask("GET", lab.authority("payments"), f"/bytes/{size_bytes}")
        assert answer.headers["content-length"] == str(size_bytes)
        assert len(answer.body) == size_bytes


def test_head_has_fields_and_no_body(lab: Lab) -> None:
    """HEAD, without any field but the host: the length is told, no byte follows, and the connection stays in step."""
    with Http1(lab["east"].addresses.http) as client:
        head = client.ask("HEAD", lab.authority("payments"), "/")
        assert (head.status, head.headers["content-length"], head.body) == (200, str(len(words_of(head))), b"")
        answer = client.ask("GET", lab.authority("payments"), "/")
        assert answer.body == words_of(answer)
    with Http2(lab["east"].addresses.http) as client2:
        head = client2.ask("HEAD", lab.authority("payments"), "/")
        assert (head.status, head.headers["content-length"], head.body) == (200, str(len(words_of(head))), b"")


def test_a_client_can_not_say_who_it_is(lab: Lab) -> None:
    """Fields that only gateways may set are stripped from a workload's request; others pass."""
    fields = [("isthmus-source", 'cluster="eu"'), ("isthmus-attempt", "9"), ("traceparent", "00-1-2-01")]
    with Http1(lab["east"].addresses.http) as client:
        answer = client.ask("GET", lab.authority("payments"), "/headers", headers=fields)
    assert b'cluster=\\"eu\\"' not in answer.body
    assert b'cluster=\\"east\\"' in answer.body
    assert b'"traceparent":"00-1-2-01"' in answer.body


@pytest.mark.parametrize("path", ["/", "/bytes/100000"])
def test_a_client_that_leaves_harms_nobody(lab: Lab, path: str) -> None:
    """Clients that go away in the middle of an answer, or before it."""
    authority = lab.authority("payments")
    for _ in range(10):
        with Http1(lab["east"].addresses.http) as client:
            client._sock.sendall(f"GET {path} HTTP/1.1\r\nhost: {authority}\r\n\r\n".encode())
    with Http1(lab["east"].addresses.http) as client:
        assert client.ask("GET", authority, "/").status == 200
