"""Where does this request go, and carry it there: the snapshot, the request path, the processes, the command."""
