"""What tasks print: taken from `sys.stdout` and `sys.stderr` by whose task it is, though tasks share one process."""
