"""Local execution: a graph's tasks on threads, or a compiled YAML's tasks as processes.

execute.py        one entry for a graph: `execute(graph, parameters, ...) -> Run`
pipeline_yaml.py  one entry for a compiled YAML: `run_pipeline_yaml(path, parameters, ...) -> Run`
session.py        what both share from start to end of a run
scheduler.py      pure: dependencies in, ready tasks out, in which order
dispatch.py       the scheduler behind a lock: hands ready tasks to the free lanes of an executor
threads.py        an executor: lanes are daemon threads
attempts.py       one task on one lane: its attempts, its timeout, how it ended
timers.py         one thread that calls back at a time: timeouts and pauses before a retry
values.py         what tasks hand to each other, isolated
environment.py    environment variables of tasks that share one process
events.py         what happened, as data, and the one thread that tells it to listeners
record.py         the run's folder in `.grandpa/runs/`
run.py            what a run leaves its caller
"""
