"""Values on their way between tasks: taken apart, encoded, laid out as objects, named by handles."""
