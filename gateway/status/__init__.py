"""What the status API shows. It reads; nothing here changes anything."""
