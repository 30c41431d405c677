"""What operators see of a process: health, readiness, metrics."""
