"""What a task tells of itself beside its outputs: metrics, parameters, pictures and pages.

`checks` turns what users give into plain data, `kinds` are the types that users return, `figures` draws any figure,
`entries` is what was logged as data, `task_log` collects it while a task runs. `context` holds the functions that
users call; engines and the launcher hand the rest on.
"""
