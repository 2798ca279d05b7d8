"""What is left over in AWS: objects that nothing uses, stale uploads, and jobs that no run knows."""
