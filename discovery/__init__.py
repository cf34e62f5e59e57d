"""What exists here, and what is it called? Services, their sources and health, DNS, virtual IPs."""
