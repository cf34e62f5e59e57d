"""What do other clusters say, and what do we believe? etcd, signed records, membership, the merged catalog."""
