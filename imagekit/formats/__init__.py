"""What a target takes, written by pure functions: no disk, no processes, no network."""
