"""Where a request goes, and where it goes when that fails: order, spill, ejection, balance. Pure."""
