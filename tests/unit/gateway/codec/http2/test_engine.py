"""Choosing an HTTP/2 engine."""

from __future__ import annotations

import sys

import pytest

from gateway.codec.http2.engine import available_engines, http2_codec
from gateway.codec.http2.h2_codec import H2Codec
from gateway.codec.limits import CodecLimits


def test_an_engine_can_be_named() -> None:
    assert isinstance(http2_codec("h2", client=True, limits=CodecLimits()), H2Codec)


@pytest.mark.stand_in
def test_auto_takes_the_first_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ngh2 (PyPy, musl) the gateway still speaks HTTP/2."""
    monkeypatch.setitem(sys.modules, "ngh2", None)
    assert available_engines() == ("h2",)
    assert isinstance(http2_codec("auto", client=False, limits=CodecLimits()), H2Codec)


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ValueError, match=r"take auto, ngh2 or h2"):
        http2_codec("nghttp3", client=True, limits=CodecLimits())
