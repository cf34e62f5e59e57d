"""What a gateway writes into, strips from and passes on in a message's fields."""

from __future__ import annotations

from discovery.model import Locality
from gateway.codec.events import ResponseHead
from gateway.codec.headers import find, forwarded_element, request_headers, source_value, without_ours


def test_a_workload_cannot_speak_as_a_gateway() -> None:
    """`isthmus-*` from anyone but a validated peer is stripped, ours is added."""
    sent = [(b"isthmus-source", b"forged"), (b"isthmus-attempt", b"9"), (b"x", b"1")]
    passed = request_headers(
        sent, forwarded=b"for=a", via=b"1.1 e", ours=[(b"isthmus-source", b"true")], from_peer=False
    )
    assert passed == [(b"x", b"1"), (b"forwarded", b"for=a"), (b"via", b"1.1 e"), (b"isthmus-source", b"true")]


def test_a_peers_source_is_kept_and_its_other_fields_are_used_up() -> None:
    sent = [(b"isthmus-source", b"west"), (b"isthmus-attempt", b"2")]
    passed = request_headers(sent, forwarded=b"for=b", via=b"1.1 w", ours=(), from_peer=True)
    assert passed == [(b"isthmus-source", b"west"), (b"forwarded", b"for=b"), (b"via", b"1.1 w")]


def test_forwarded_and_via_are_appended_to() -> None:
    """RFC 7239 section 4: a proxy adds its element after the others."""
    sent = [(b"forwarded", b"for=first"), (b"via", b"1.0 old")]
    passed = request_headers(sent, forwarded=b"for=second", via=b"1.1 e", ours=(), from_peer=False)
    assert passed == [(b"forwarded", b"for=first, for=second"), (b"via", b"1.0 old, 1.1 e")]


def test_a_forwarded_element_quotes_what_it_must() -> None:
    """RFC 7239 section 6: an address with a port, or IPv6, is a quoted string."""
    assert forwarded_element(b'for="[::1]:5"', b'a"b', b"http") == b'for="[::1]:5";host="a\\"b";proto=http'
    assert forwarded_element(b"for=unknown", b"h", b"") == b'for=unknown;host="h";proto=tcp'


def test_an_endpoint_cannot_answer_as_a_gateway() -> None:
    head = ResponseHead(503, [(b"isthmus-reason", b"no-healthy-upstream"), (b"a", b"b")])
    assert without_ours(head).headers == [(b"a", b"b")]
    plain = ResponseHead(200, [(b"a", b"b")])
    assert without_ours(plain) is plain


def test_find_and_source_value() -> None:
    assert find([(b"a", b"1"), (b"a", b"2")], b"a") == b"1"
    assert find([], b"a") == b""
    value = source_value("east", Locality("r", "z"), "spiffe://e/x")
    assert value == b'cluster="east", region="r", zone="z", identity="spiffe://e/x"'
