# syntax=docker/dockerfile:1
# The image of the controller, put together from programs that were built before. BINARIES is a folder of the build
# context with tidelock, helm, kustomize and ca-certificates.crt:
#
#   mkdir -p dist && cp -L "$(make -s build | tail -n 1)" "$(command -v helm)" "$(command -v kustomize)" /etc/ssl/certs/ca-certificates.crt dist/
#   docker build --build-arg BINARIES=dist --tag tidelock .
#
# BASE must bring the libraries that tidelock was linked with; `scratch` is enough for a static one
# (RUSTFLAGS=-Ctarget-feature=+crt-static). helm and kustomize are static.
ARG BASE=gcr.io/distroless/cc-debian13:nonroot

FROM scratch AS programs
ARG BINARIES=dist
COPY --chmod=0755 ${BINARIES}/tidelock ${BINARIES}/helm ${BINARIES}/kustomize /usr/local/bin/
COPY --chmod=0644 ${BINARIES}/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --chmod=0644 LICENSE NOTICE /usr/share/doc/tidelock/

FROM ${BASE}
COPY --from=programs / /
# The controller writes to /var/lib/tidelock and /tmp only; mount both. Everything else may be read-only.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/tidelock"]
CMD ["controller"]
