"""One request: its exchange, the attempts at it, its deadlines, and the answers that a gateway makes itself."""
