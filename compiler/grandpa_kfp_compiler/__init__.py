"""From the recorded graph to a Kubeflow Pipelines v2 YAML: the IR, its passes, its lowering."""
