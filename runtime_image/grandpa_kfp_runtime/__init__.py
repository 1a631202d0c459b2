"""What runs one task, on this machine and in a container, by the same code."""
