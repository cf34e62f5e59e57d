"""The section `peers.<cluster>.bundle_endpoint` of cluster.yaml: where the bundle of a peer outside our etcd is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from discovery.config_values import Fault, FilePath, Location, Section, refuse, show, text_of
from trust.bundle_source import BundleSource
from trust.bundle_url import parse_bundle_url
from trust.errors import TrustError
from trust.spiffe_id import parse_spiffe_id


def _url(value: Any) -> str:
    expected = "an https URL without a user, like https://partner.example/bundle.json"
    text = text_of(value, expected)
    try:
        return parse_bundle_url(text)
    except TrustError as error:
        # The value is not shown: it may have a password in it.
        raise refuse(str(error), expected) from None


def _spiffe_id(value: Any) -> str:
    expected = "a SPIFFE ID, like spiffe://partner.example/bundle-endpoint"
    text = text_of(value, expected)
    try:
        return str(parse_spiffe_id(text))
    except TrustError:
        raise refuse(f"{show(text)} is not a SPIFFE ID", expected) from None


class BundleSourceConfig(Section):
    """A bundle endpoint that is followed. None of its parameters can be inferred from another."""

    url: Annotated[str, PlainValidator(_url)] = Field(description="https://host/path, as the peer's owner says")
    profile: Literal["https_web", "https_spiffe"] = Field(description="https_web or https_spiffe")
    endpoint_spiffe_id: Annotated[str, PlainValidator(_spiffe_id)] = ""
    ca_file: FilePath | None = None

    def source(self) -> BundleSource:
        endpoint_id = parse_spiffe_id(self.endpoint_spiffe_id) if self.endpoint_spiffe_id else None
        return BundleSource(self.url, endpoint_id, str(self.ca_file or ""))

    def faults(self, at: Location, trust_domain: str, root: str) -> Iterator[Fault]:
        """What does not fit together. `at` is where this section stands."""
        if self.profile == "https_web":
            if self.endpoint_spiffe_id:
                message = "of no use: with https_web the host name in the URL says who must answer"
                yield Fault((*at, "endpoint_spiffe_id"), message, "no such key")
            return
        if self.ca_file is not None:
            yield Fault((*at, "ca_file"), "of no use: with https_spiffe the peer's own bundle judges", "no such key")
        if not root:
            message = "missing: with https_spiffe the first bundle is believed by the root that you pin"
            yield Fault((*at[:-1], "root"), message, "sha256: and 64 hex digits, from the peer's owner")
        if not self.endpoint_spiffe_id:
            message = "missing: with https_spiffe it says who must answer"
            yield Fault(
                (*at, "endpoint_spiffe_id"), message, f"a SPIFFE ID, like spiffe://{trust_domain}/bundle-endpoint"
            )
        elif parse_spiffe_id(self.endpoint_spiffe_id).trust_domain != trust_domain:
            message = f"{self.endpoint_spiffe_id} is of another trust domain: an endpoint serves its own bundle"
            yield Fault((*at, "endpoint_spiffe_id"), message, f"a SPIFFE ID of {trust_domain}")
