"""Codecs: bytes to events and commands to bytes, one connection each, without I/O.

`events` is what every codec says, `interface` what every codec can be told, `choose` which codec a connection gets.
HTTP/1.1 is in `http1`, HTTP/2 in `http2`; raw TCP (`tcp`) is a codec too, so that the rest of the request path knows
one kind of connection.
"""
