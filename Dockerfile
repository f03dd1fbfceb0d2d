# assay in a container: the same scripts as on a developer's machine, Debian slim, no root.
#
#   docker build -t assay .
#   docker run --rm --read-only -v assay:/var/lib/assay -p 8080:8080 assay
#
# `make docker-check` runs these steps without an engine and starts what comes out.

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
    ASSAY__MODEL__DIRECTORY=/usr/local/share/assay/models/fraud/1 \
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
