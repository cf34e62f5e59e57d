"""No header that a local workload sends makes it somebody else at the other end, and nothing that a peer's gateway
sends makes it speak for another trust domain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from discovery.model import Locality
from gateway.callers import Caller, SourceNotBelieved
from gateway.codec.headers import SOURCE, passed_trailers, request_headers, source_value
from trust.spiffe_id import gateway_id

_OURS = source_value("west", Locality("us", "a"), "spiffe://west.test/ns/web/sa/frontend")
_FORGED = source_value("west", Locality("us", "a"), "spiffe://west.test/ns/admin/sa/root")
_NAME = st.sampled_from([SOURCE, b"isthmus_source", b"isthmus-attempt", b"isthmus-", b"x-isthmus-source", b"forwarded"])
_VALUE = st.one_of(st.sampled_from([_FORGED, _OURS, b"", b","]), st.binary(max_size=40))
_HEADERS = st.lists(st.tuples(_NAME, _VALUE), max_size=6)


@given(_HEADERS)
def test_a_workload_is_who_its_gateway_says(sent: list[tuple[bytes, bytes]]) -> None:
    """Whatever comes along, the other side sees one source, which is the gateway's; CGI's spelling is no way round."""
    passed = request_headers(sent, forwarded=b"for=a", via=b"1.1 w", ours=[(SOURCE, _OURS)], from_peer=False)
    assert [value for name, value in passed if name.replace(b"_", b"-").startswith(b"isthmus-")] == [_OURS]
    caller = Caller("west", gateway_id("west.test"))
    assert str(caller.source(passed, dict(passed))) == "spiffe://west.test/ns/web/sa/frontend"
    trailers = passed_trailers(sent)
    assert not any(name.replace(b"_", b"-").startswith(b"isthmus-") for name, _ in trailers)


_DOMAIN = st.sampled_from(["west.test", "east.test", "west.test.evil", "WEST.test", "west.test/", "", "west.test@x"])
_PATH = st.text('abz/.*%"\\ ,=-_@:\u00e9', max_size=20)
_CLUSTER = st.sampled_from(["west", "east", "west-2", 'west", cluster="east', ""])


@given(_DOMAIN, _PATH, _CLUSTER, st.binary(max_size=8), st.binary(max_size=8))
def test_a_peer_speaks_for_its_own_only(domain: str, path: str, cluster: str, before: bytes, after: bytes) -> None:
    """Whatever is believed is a SPIFFE ID of its trust domain, said once and in the form that gateways write."""
    value = before + source_value(cluster, Locality("us", "a"), f"spiffe://{domain}{path}") + after
    caller = Caller("west", gateway_id("west.test"))
    try:
        identity = caller.source([(SOURCE, value)], {SOURCE: value})
    except SourceNotBelieved:
        return
    assert identity.trust_domain == "west.test"
    assert identity.path
    assert value == source_value("west", Locality("us", "a"), str(identity))
