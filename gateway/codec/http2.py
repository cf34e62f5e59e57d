"""Which engine speaks HTTP/2: ngh2 (libnghttp2) where it has a wheel, h2 everywhere else."""

from __future__ import annotations

from gateway.codec.interface import Codec, CodecLimits

ENGINES = ("ngh2", "h2")


def http2_codec(kind: str, *, client: bool, limits: CodecLimits) -> Codec:
    """A codec of either role. `kind` is "auto", "ngh2" or "h2"; "auto" takes ngh2 when it can be imported.

    The engines are imported here and not above because ngh2 does not exist for every interpreter.
    """
    if kind == "auto":
        kind = available_engines()[0]
    if kind == "ngh2":
        from gateway.codec.http2_ngh2 import Ngh2Codec

        return Ngh2Codec(client=client, limits=limits)
    if kind == "h2":
        from gateway.codec.http2_h2 import H2Codec

        return H2Codec(client=client, limits=limits)
    raise ValueError(f'"{kind}" is no HTTP/2 engine: take auto, ngh2 or h2')


def available_engines() -> tuple[str, ...]:
    """The engines that can be imported here, the preferred one first."""
    try:
        import ngh2  # noqa: F401
    except ImportError:
        return ("h2",)
    return ENGINES
