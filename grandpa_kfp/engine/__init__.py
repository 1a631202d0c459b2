"""Local execution: a graph's tasks on threads, or a compiled YAML's tasks as processes or in containers.

execute.py        one entry for a graph: `execute(graph, parameters, ...) -> Run`
plan.py           the graph as numbered tasks; flatten.py opens its groups, parameters.py checks what is given
graph_tasks.py    what a lane does for one of its tasks; targets.py finds the code, values.py isolates values,
                  environment.py sets variables, reports.py words a failure, scratch.py has room on disk

pipeline_yaml.py  one entry for a compiled YAML: `run_pipeline_yaml(path, parameters, ...) -> Run`
kfp_pipeline.py   it as data; kfp_reading.py and kfp_dags.py make that of the file, kfp_containers.py of its executors;
                  kfp_values.py and kfp_conditions.py treat values and conditions as KFP does
yaml_table.py     its tasks by number, what is skipped, the rounds of loops (yaml_loops.py)
executor_inputs.py  what a task's command is given
yaml_tasks.py     what a lane does for one of its tasks, by a runner of its container's command:
                  subprocesses.py as a process, containers.py in a container; container_host.py looks before
                  whether Docker, the images and the store's way into containers are there

session.py        what both share, from the start of a run to its end
scheduler.py      pure: dependencies in, ready tasks out, in which order
dispatch.py       the scheduler behind a lock: hands ready tasks to the lanes of an executor
threads.py        an executor: lanes are daemon threads
attempts.py       one task on one lane: its attempts, its timeout, how it ended; timers.py calls back in time
events.py         what happens, as data (grandpa_kfp_runtime.events); echo.py shows what tasks print
memo/             results of earlier runs in place of running a task again
record.py         the run's folder in `.grandpa/runs/`; run.py is what a run leaves its caller
"""
