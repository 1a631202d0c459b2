"""Talking to a Kubeflow Pipelines server: deploy a workflow, follow its run, look at runs afterwards.

    connecting.py   finds the server as kfp.Client does; forwards a port where there is no endpoint
    forward.py      ports of a cluster's services, through the kubernetes client
    server.py       the server's API as a few functions, over the real kfp.Client
    answers.py      what went wrong between us and the server, in words
    preflight.py    everything that can be checked before anything is sent
    image.py        what can be known of an image from here
    upload.py       the pipeline, and a version of it only when the YAML changed
    start.py        the experiment and the run; git.py: the commit it came from
    follow.py       waits for a run's end, a line a task
    failures.py     why tasks failed, from the records in the store
    deploying.py    all of that in order: `grandpa_kfp.deploy`
    schedules.py    runs by the clock
    remote.py       runs that are there already: find, list, terminate, retry, logs

The package is not called `deploy`, which would hide the public function of that name.
"""
