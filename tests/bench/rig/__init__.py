"""What the benchmarks are made of: the gateways under test, the endpoints behind them, the load, and the arithmetic."""
