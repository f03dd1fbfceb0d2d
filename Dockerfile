# assay in a container: the same scripts as on a developer's machine, Debian slim, no root.
#
#   docker build -t assay .
#   docker run --rm --read-only -v assay:/var/lib/assay -p 8080:8080 assay
#
# With CUDA, for a model that is none of trees, on an NVIDIA GPU (the engine needs NVIDIA's container toolkit):
#
#   docker build --target cuda -t assay-cuda .
#   docker run --rm --read-only --gpus all -v <package>:/model -e ASSAY__MODEL__DIRECTORY=/model -e ASSAY__MODEL__DEVICE=cuda:0 \
#     -v assay:/var/lib/assay -p 8080:8080 assay-cuda
#
# `make docker-check` runs the steps of the first without an engine and starts what comes out.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ gcc libc6-dev libssl-dev make pkg-config python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY Makefile Cargo.toml Cargo.lock ./
COPY scripts scripts
# Before the sources, so that a change of code fetches nothing again.
RUN make onnxruntime \
 && install -D --mode=0644 .cache/onnxruntime/*/libonnxruntime.so /out/lib/libonnxruntime.so
COPY src src
COPY benches benches
COPY loadtest loadtest
COPY schemas schemas
COPY models models
COPY config config
RUN make build \
 && install -D --mode=0755 target/release/assay /out/bin/assay

FROM debian:bookworm-slim AS onnxruntime-gpu
WORKDIR /build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY scripts scripts
RUN scripts/onnxruntime.sh gpu \
 && install -D --mode=0644 --target-directory=/out/lib .cache/onnxruntime-gpu/*/*.so

# CUDA 13 and cuDNN 9, which this ONNX Runtime was built for.
FROM nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04 AS cuda
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates libssl3t64 \
 && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 assay \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/assay --shell /usr/sbin/nologin assay \
 && install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/assay
COPY --from=build /out/bin/assay /usr/local/bin/assay
# Beside each other: the runtime looks for its providers where it lies itself.
COPY --from=onnxruntime-gpu /out/lib/*.so /usr/local/lib/
COPY config /etc/assay
COPY models/fraud /usr/local/share/assay/models/fraud
# Inside a container the address to listen on is the container's own; which port is published is its runner's choice.
ENV ASSAY__SERVER__LISTEN=0.0.0.0:8080 \
    ASSAY__MODEL__DIRECTORY=/usr/local/share/assay/models/fraud \
    ASSAY__MODELS__COPIES=/var/lib/assay/models \
    ASSAY__MODELS__JOURNAL=/var/lib/assay/models.journal \
    ASSAY__STORE__PATH=/var/lib/assay/assay.sqlite \
    ASSAY__HISTORY__HASH_KEY_FILE=/var/lib/assay/history.key \
    ASSAY__STREAM__SNAPSHOT_DIRECTORY=/var/lib/assay/snapshots
WORKDIR /var/lib/assay
VOLUME /var/lib/assay
EXPOSE 8080
USER 10001:10001
# Whether it may be sent requests is what GET /health/ready answers, for whatever runs the container to ask.
HEALTHCHECK NONE
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/assay"]
CMD ["serve", "--config", "/etc/assay/embedded.toml"]

FROM debian:bookworm-slim
# OpenSSL: Kafka and PostgreSQL over TLS.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates libssl3 \
 && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 assay \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/assay --shell /usr/sbin/nologin assay \
 && install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/assay
COPY --from=build /out/bin/assay /usr/local/bin/assay
COPY --from=build /out/lib/libonnxruntime.so /usr/local/lib/libonnxruntime.so
COPY config /etc/assay
COPY models/fraud /usr/local/share/assay/models/fraud
# Inside a container the address to listen on is the container's own; which port is published is its runner's choice.
ENV ASSAY__SERVER__LISTEN=0.0.0.0:8080 \
    ASSAY__MODEL__DIRECTORY=/usr/local/share/assay/models/fraud \
    ASSAY__MODELS__COPIES=/var/lib/assay/models \
    ASSAY__MODELS__JOURNAL=/var/lib/assay/models.journal \
    ASSAY__STORE__PATH=/var/lib/assay/assay.sqlite \
    ASSAY__HISTORY__HASH_KEY_FILE=/var/lib/assay/history.key \
    ASSAY__STREAM__SNAPSHOT_DIRECTORY=/var/lib/assay/snapshots
WORKDIR /var/lib/assay
VOLUME /var/lib/assay
EXPOSE 8080
USER 10001:10001
# Whether it may be sent requests is what GET /health/ready answers, for whatever runs the container to ask.
HEALTHCHECK NONE
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/assay"]
CMD ["serve", "--config", "/etc/assay/embedded.toml"]
