"""Results of earlier runs in place of running a task again.

code.py       fingerprints of nodes, with what they consist of
identity.py   one task's cache key: code, interface, inputs; or why it has none
results.py    the records of results in the store, `memo/...`
memo.py       what one run takes from there, and leaves there
"""
