# One image for all roles: docker run distributary serve master|mirror|selector|all
#
# BASE is any Debian-like image with python3 (3.11 or newer) and pip; where no registry is in reach, .ci/images makes one.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG UV_VERSION=0.13.9
RUN python3 -m pip install -qq --root-user-action=ignore --no-cache-dir --target /opt/uv "uv==${UV_VERSION}"
ENV UV_PROJECT_ENVIRONMENT=/opt/distributary UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
WORKDIR /src
# The dependencies first: they change seldom, so their layer is kept.
COPY pyproject.toml uv.lock README.md LICENSE NOTICE ./
RUN /opt/uv/bin/uv sync --quiet --frozen --no-dev --no-install-project --python "$(command -v python3)"
COPY broker broker/
COPY distributary distributary/
COPY edge edge/
COPY events events/
COPY history history/
COPY master master/
COPY mirror mirror/
COPY selection selection/
RUN /opt/uv/bin/uv sync --quiet --frozen --no-dev --no-editable --python "$(command -v python3)"

# The same base, since the environment points to its Python.
FROM ${BASE}
COPY --from=build /opt/distributary /opt/distributary
# Every role keeps what it has below this folder; it belongs to the image's user, and so does a new volume there.
RUN useradd --system --uid 10001 --home-dir /var/lib/distributary --create-home distributary
ENV PATH=/opt/distributary/bin:$PATH PYTHONUNBUFFERED=1
USER distributary
WORKDIR /var/lib/distributary
VOLUME /var/lib/distributary
EXPOSE 8080 8081 8082
ENTRYPOINT ["distributary"]
CMD ["--help"]
