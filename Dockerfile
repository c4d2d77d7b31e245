# A host in a container:
#
#     docker build -t perigee .
#     docker run -p 8000:8000 -v "$PWD/scripts:/scripts:ro" perigee
#
# Without a volume it serves the samples.

FROM debian:13-slim AS build
WORKDIR /perigee
COPY . .
# The same package as everywhere: it knows what the program needs to run.
RUN tools/deb

FROM debian:13-slim
RUN --mount=type=bind,from=build,source=/perigee/build,target=/build \
    apt-get update \
    && apt-get install -y --no-install-recommends /build/perigee_*.deb \
    && rm -rf /var/lib/apt/lists/*
COPY scripts /scripts

# Nobody in particular: the host reads /scripts and writes nothing.
USER 65534:65534
EXPOSE 8000
# The host drains: give it longer than drain_stop_s, as in docker stop --time 40.
STOPSIGNAL SIGTERM

# It lives when it answers, whatever the scripts make of /.
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8000 && printf 'GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r answer <&3 && [[ $answer == HTTP/1.1\\ [234]* ]]"]

ENTRYPOINT ["perigee"]
CMD ["serve", "/scripts", "--host", "0.0.0.0"]
