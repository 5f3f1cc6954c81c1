# The service and the libraries it needs, nothing else: no shell, no package manager.
#
#   docker build -t proof-storage .
#   docker run --rm -p 127.0.0.1:8080:8080 -v proofs:/data -e STORAGE_AUTH=anyone-may-do-anything proof-storage
#
# The base image is an argument, so that a builder can bring its own.
ARG RUST_IMAGE=rust:1.95.0-slim-bookworm

FROM ${RUST_IMAGE} AS build
# Of the allocator's build; the image has the compiler.
RUN apt-get update --quiet=2 \
    && apt-get install --yes --quiet=2 --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src

# Dependencies first: this layer lasts until the lock file changes. The sources stand for the real
# ones, which are not there yet.
COPY Cargo.toml Cargo.lock build.rs ./
COPY .cargo .cargo
COPY prove/Cargo.toml prove/
COPY bench/Cargo.toml bench/
COPY fake-s3/Cargo.toml fake-s3/
RUN mkdir -p src prove/src bench/src fake-s3/src \
    && echo 'fn main() {}' | tee src/main.rs prove/src/main.rs > bench/src/main.rs \
    && touch src/lib.rs fake-s3/src/lib.rs \
    && cargo build --release --locked --package proof-storage --bin proof-storage

COPY src src
COPY openapi.yaml ./
COPY config config
# Newer than what stood for them, whatever the time of the checkout.
RUN find src -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --package proof-storage --bin proof-storage

# The root of the final image: the binary, the shared libraries that it names, and the authorities
# that S3's certificates are signed by.
RUN install -D --strip target/release/proof-storage /image/usr/bin/proof-storage \
    && ldd target/release/proof-storage \
        | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^\t\(\/[^ ]*\) (.*/\1/p' \
        | xargs -I{} cp --dereference --parents {} /image \
    && install -D --mode=0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    && install -D --mode=0644 config/docker.toml /image/etc/proof-storage/config.toml \
    && install --directory --mode=0750 /data

FROM scratch
LABEL org.opencontainers.image.title="proof-storage" \
      org.opencontainers.image.description="HTTP service that keeps content-provenance proofs (C2PA) and loses none" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
COPY --from=build /image /
# Nobody in particular: a number, so that Kubernetes can see that it is not root.
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
ENV STORAGE_CONFIG=/etc/proof-storage/config.toml
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=4s --start-period=30s --retries=3 \
    CMD ["/usr/bin/proof-storage", "healthcheck"]
ENTRYPOINT ["/usr/bin/proof-storage"]
