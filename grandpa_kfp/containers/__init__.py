"""Containers of any image as nodes: `ContainerNode`, `kfp_component`, and how a local engine runs them.

`authoring` reads what a user declares, `loading` reads component files, `in_python` makes of them tasks that the local
engine knows, `running` runs one by Docker, `placeholders` fills in its command.
"""
