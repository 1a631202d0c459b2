# The generic runtime image: one image runs every node of every workflow of this Python minor.
ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /src
COPY . .
RUN python3 -m venv /opt/build \
    && /opt/build/bin/pip install --quiet --no-cache-dir build \
    && /opt/build/bin/python -m build --wheel --outdir /wheels

FROM ${BASE_IMAGE}
COPY --from=build /wheels /wheels
# The wheel alone, without what only the command line needs; then what a task needs.
RUN python3 -m venv /opt/grandpa \
    && /opt/grandpa/bin/pip install --quiet --no-cache-dir --no-deps /wheels/*.whl \
    && /opt/grandpa/bin/pip install --quiet --no-cache-dir cloudpickle minio zstandard \
    && rm -rf /wheels
# One hash seed everywhere: a set is then written in the same order by every task.
ENV PATH=/opt/grandpa/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
USER 1000
ENTRYPOINT []
CMD ["python", "-m", "grandpa_kfp_runtime"]
