"""This cluster's own trust while it runs: its source, its rotation, who asks to join, and our bundle for others."""
