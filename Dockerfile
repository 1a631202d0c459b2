# The generic runtime image: one image runs every node of every workflow of this Python minor.
# The base brings Python with pip; neither pip nor anything else that only builds reaches the image.
ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /src
COPY . .
# The wheel alone, without what only the command line needs; then what a task needs. Compiled now, since
# nothing can be written later. Left out: self-tests, type hints, and the half of zstandard that is for PyPy.
RUN python3 -m venv /opt/build \
    && python3 -m venv --without-pip /opt/grandpa \
    && /opt/build/bin/pip install --quiet --no-cache-dir --upgrade pip \
    && /opt/build/bin/pip --python /opt/grandpa/bin/python install --quiet --no-cache-dir --no-deps . \
    && /opt/build/bin/pip --python /opt/grandpa/bin/python install --quiet --no-cache-dir \
        'cloudpickle>=3.0' 'minio>=7.2' 'packaging>=23.0' 'zstandard>=0.22' \
    && cd /opt/grandpa/lib/python3*/site-packages \
    && rm -rf Crypto/SelfTest zstandard/_cffi* \
    && find . -name '*.pyi' -delete

FROM ${BASE_IMAGE}
COPY --from=build /opt/grandpa /opt/grandpa
# One hash seed everywhere: a set is then written in the same order by every task.
ENV PATH=/opt/grandpa/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
USER 1000
ENTRYPOINT []
CMD ["python", "-m", "grandpa_kfp_runtime"]
