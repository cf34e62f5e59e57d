"""The status API: what a gateway knows about itself and the federation, for people and programs. Read-only."""
