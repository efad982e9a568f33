# The image of Tidelock: tidelock, helm, kustomize, certificates, the C library. No shell, no git, no package manager.
#
# From the sources, for linux/amd64 and linux/arm64:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" \
#     --output type=image,name=REGISTRY/tidelock,rewrite-timestamp=true,push=true .
#
# From programs that were built before, which needs no registry and runs nothing: BINARIES is a directory of the build
# context that image/root.sh has filled (e2e/image.sh does both steps):
#
#   image/root.sh dist target/release/tidelock "$(command -v helm)" "$(command -v kustomize)"
#   buildah bud --isolation chroot --timestamp 0 --build-arg BINARIES=dist --tag tidelock .
#
# To pin the builders, give them with their digests: --build-arg RUST_IMAGE=docker.io/library/rust:1.95.0-bookworm@sha256:…
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-bookworm
ARG GO_IMAGE=docker.io/library/golang:1.26.8-bookworm
ARG BINARIES=""

# helm and kustomize, at the versions that the tests use. Go compiles for other architectures by itself.
FROM --platform=${BUILDPLATFORM} ${GO_IMAGE} AS tools
ARG TARGETARCH
ENV CGO_ENABLED=0 GOOS=linux GOARCH=${TARGETARCH} GOFLAGS="-buildvcs=false -mod=readonly -trimpath"
COPY e2e/tools/helm /source/helm
COPY e2e/tools/kustomize /source/kustomize
RUN cd /source/helm && go build -ldflags="-s -w" -o /programs/helm helm.sh/helm/v4/cmd/helm
RUN cd /source/kustomize && go build -ldflags="-s -w" -o /programs/kustomize sigs.k8s.io/kustomize/kustomize/v5

# tidelock, on the architecture that it is for: libraries in C are compiled with it. What is linked dynamically is taken along.
FROM ${RUST_IMAGE} AS root
ARG SOURCE_DATE_EPOCH=0
WORKDIR /source
COPY rust-toolchain.toml Cargo.toml Cargo.lock ./
COPY benches benches
COPY src src
RUN cargo build --profile dist --locked --bin tidelock
COPY LICENSE NOTICE ./
COPY image image
COPY --from=tools /programs /programs
RUN image/root.sh /image target/dist/tidelock /programs/helm /programs/kustomize

# The same tree, made outside.
FROM scratch AS root-given
ARG BINARIES
COPY ${BINARIES}/ /image/

FROM root${BINARIES:+-given} AS chosen

FROM scratch
COPY --from=chosen /image/ /
# What is written goes to /var/lib/tidelock and /tmp: mount both. The rest may be read-only.
ENV PATH=/usr/local/bin
USER 65532:65532
EXPOSE 8080 8081
LABEL org.opencontainers.image.title="tidelock" \
      org.opencontainers.image.description="GitOps for clusters that have no internet gateway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/tidelock/tidelock"
ENTRYPOINT ["/usr/local/bin/tidelock"]
CMD ["controller"]
