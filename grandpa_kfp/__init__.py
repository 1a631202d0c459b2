"""Write ordinary Python nodes, run them here, compile the same file to Kubeflow Pipelines."""
