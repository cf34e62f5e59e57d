"""Who is speaking? SPIFFE identities, the cluster's CA, SVIDs, bundles, and the TLS contexts made of them."""
