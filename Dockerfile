# edge-advisor with its embedded engine; frameworks are installed into the volume by `runtime install`.
#
#   docker build -t edge-advisor .
#   docker run --rm -v edge-advisor:/data edge-advisor recommend
#   docker run --rm -v edge-advisor:/data -v "$PWD/reports:/home/advisor/reports" edge-advisor bench --model smollm2-135m --quick
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked \
    && target/release/edge-advisor man /out/share/man/man1 \
    && mkdir -p /out/bin && cp target/release/edge-advisor /out/bin/

# Python is for the frameworks that run in an environment of their own (MLX, Olive, OpenVINO's tools).
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libgomp1 python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 advisor \
    && install -d -o advisor /data
COPY --from=build /out /usr/local
USER advisor
WORKDIR /home/advisor
ENV EDGE_ADVISOR_DATA_DIR=/data/data EDGE_ADVISOR_CACHE_DIR=/data/cache
VOLUME /data
ENTRYPOINT ["edge-advisor"]
CMD ["recommend"]
