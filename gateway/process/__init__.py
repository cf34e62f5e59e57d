"""A process of ours as the system sees it: its directory, its log, what it uses, whether it is still the same."""
