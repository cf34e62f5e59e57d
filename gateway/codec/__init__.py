"""Codecs: bytes to events and commands to bytes, one connection each, without I/O.

`events` is what every codec says, `interface` what every codec can be told. HTTP/1.1 (`http1_server`,
`http1_client`) is on httptools; HTTP/2 is on ngh2 (`http2_ngh2`) where it has a wheel, and on h2 (`http2_h2`)
everywhere else; raw TCP (`tcp`) is a codec too, so that the rest of the request path knows one kind of connection.
"""
