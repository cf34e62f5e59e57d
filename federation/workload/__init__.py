"""The SPIFFE Workload API: the other place that a cluster's identity may come from."""
