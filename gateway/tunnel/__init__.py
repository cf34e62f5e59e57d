"""Tunnels to the gateways of peers: opened, proved, probed, kept, given up."""
