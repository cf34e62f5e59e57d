"""The controller process: it knows, decides, and keeps the workers. It never touches a user's bytes."""
