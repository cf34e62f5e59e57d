"""The endpoints of this cluster's own services, and the TLS that some of them want."""
