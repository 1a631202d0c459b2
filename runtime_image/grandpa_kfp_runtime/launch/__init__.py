"""One task in a container: what KFP hands in, what the task leaves behind, what a person sees of it."""
