"""What the tests of failover are made of: clusters that can be broken, endpoints that obey, and a steady load."""
