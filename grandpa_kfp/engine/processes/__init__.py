"""Worker processes: task bodies run in clean interpreters, values cross by shared memory without names.

`conductor` is the one thread that hands out tasks, `worker` the other end; `channel` carries messages,
`parcels` values, `segments` big ones. Nothing here has a name in the file system: whatever dies, the
kernel takes back what it held.
"""
