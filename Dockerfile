# syntax=docker/dockerfile:1

# Cross-compiles on the build platform: there is no C in the binaries to emulate for.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=dev COMMIT=unknown
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT" -o /out/ ./cmd/...

# Nothing but the binaries and the public authorities, one of which may be that of a collector of traces. The
# cluster's own is mounted.
FROM scratch
ARG VERSION=dev COMMIT=unknown CREATED=""
LABEL org.opencontainers.image.title="egress-tls-webhook" \
      org.opencontainers.image.description="Admission webhook that originates TLS for Istio egress and refuses dead routes" \
      org.opencontainers.image.source="https://github.com/egress-tls/egress-tls-webhook" \
      org.opencontainers.image.documentation="https://github.com/egress-tls/egress-tls-webhook/blob/main/README.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/egress-tls-webhook /out/egress-tls /
# By number: the kubelet cannot tell whether a user's name is root's.
USER 65532:65532
ENTRYPOINT ["/egress-tls-webhook"]
