# Stand-in for the official Python image: Debian's Python in /usr/local/bin, with the C headers.
ARG ROOT
FROM ${ROOT}
COPY apt-no-caches /etc/apt/apt.conf.d/docker-clean
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV LANG=C.UTF-8 \
    PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt
WORKDIR /tmp/headers
# hadolint ignore=DL3008
RUN rm -f /usr/lib/python3*/EXTERNALLY-MANAGED \
    && ln -s /usr/bin/python3 /usr/local/bin/python3 \
    && ln -s /usr/bin/python3 /usr/local/bin/python \
    && ln -s /usr/bin/pip3 /usr/local/bin/pip \
    && apt-get -qq update && apt-get -qq download libpython3.13-dev \
    && dpkg -x libpython3.13-dev_*.deb . && cp -r usr/include /usr/ \
    && rm -rf /tmp/headers /var/lib/apt/lists/*
WORKDIR /
CMD ["python3"]
