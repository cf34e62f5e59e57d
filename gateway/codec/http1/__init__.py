"""HTTP/1.1 on httptools: `server` and `client` are the codecs, on heads (`message`, `request`) and bodies (`body`)."""
