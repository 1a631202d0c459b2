"""What runs one task, on this machine and in a container, by the same code."""

__version__ = "0.1.0"
