"""How bytes come and go: the reactor, connections with a codec each, TLS, dialling, listening sockets."""
