# A small image that stylizes photos and videos, and serves pictures over HTTP. Without TensorFlow, pip and compilers.
#
#   docker build -t fast-style-transfer .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" fast-style-transfer stylize photo.jpg --style great_wave
#   docker run --rm --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --memory 4g \
#       -p 127.0.0.1:7860:7860 fast-style-transfer
#
# It has been checked by hadolint, but was not built where it was written: there was no Docker engine.
# For builds that are the same every time, give the image by its digest and the packages by their versions:
#   --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:... --build-arg PIP_CONSTRAINT=/source/install/constraints.txt
# where install/constraints.txt is the output of `pip freeze --exclude fast-style-transfer` in an environment that works.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ARG EXTRAS=serve
ARG PIP_CONSTRAINT=
WORKDIR /source
COPY . .
# --copies and the same path in both stages, so that the environment can be moved as it is. It needs no pip.
RUN python -m venv --copies /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --no-compile ".[${EXTRAS}]" \
    && /opt/venv/bin/pip uninstall --yes pip

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin stylist
COPY --from=build /opt/venv /opt/venv
# HOME is writable for whatever user the container runs as; nothing needs to be written elsewhere.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
# Photos are read from here, and checkpoints/ in it holds styles of your own.
WORKDIR /work
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:7860/api/v1/health', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["fast-style-transfer"]
CMD ["serve", "--host", "0.0.0.0", "--port", "7860"]
