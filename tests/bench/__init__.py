"""Benchmarks: `python -m tests.bench` lists them, `python -m tests.bench NAME [--json]` runs one."""
