"""The worker process: who is let in, what it knows, and what its requests are given."""
