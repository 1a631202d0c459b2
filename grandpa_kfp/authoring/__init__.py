"""What users write: nodes, components, workflows, the Refs between them, and how a graph is recorded."""
