"""`python -m gateway.worker STATE_DIR WORKER_ID LOG_LEVEL`: started by the controller only."""

from gateway.worker.worker import main

if __name__ == "__main__":
    main()
