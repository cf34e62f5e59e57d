"""The demo: three clusters on this machine, and a story that checks itself."""
