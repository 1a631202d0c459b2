"""Images: building one with the project's own requirements, and the docker command that all of it goes through.

docker.py                 the docker command
build.py                  `grandpa image build`: context, template, build, check, push, load
wheel.py                  the runtime that is at work here, as a wheel for an image
Dockerfile.jinja          the template
"""
