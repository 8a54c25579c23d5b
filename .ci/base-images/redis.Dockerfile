# Stand-in for the official Redis image: Debian's Redis, open to other containers.
ARG ROOT
FROM ${ROOT}
COPY apt-no-caches /etc/apt/apt.conf.d/docker-clean
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
RUN install -d -o redis -g redis /data
COPY --chmod=755 redis-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
VOLUME /data
WORKDIR /data
ENTRYPOINT ["docker-entrypoint.sh"]
EXPOSE 6379
CMD ["redis-server"]
