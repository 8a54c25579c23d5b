# Stand-in for the official PostgreSQL image, with Debian's PostgreSQL and the same interface. As in
# the official image, the user has the same id in every major version, so that files stay readable.
ARG ROOT
FROM ${ROOT}
COPY apt-no-caches /etc/apt/apt.conf.d/docker-clean
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ARG MAJOR
ARG VOLUME
ARG PGDATA
ENV LANG=C.UTF-8 PG_MAJOR=${MAJOR} PGDATA=${PGDATA} \
    PATH=/usr/local/bin:/usr/lib/postgresql/${MAJOR}/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
RUN sed -ri "s!^#?(listen_addresses)\s*=\s*\S+.*!\1 = '*'!" /usr/share/postgresql/${MAJOR}/postgresql.conf.sample \
    && usermod --uid 5432 postgres && groupmod --gid 5432 postgres \
    && rm -rf /var/lib/postgresql/* \
    && install -d -o postgres -g postgres -m 1777 /var/lib/postgresql "${VOLUME}" \
    && install -d -o postgres -g postgres -m 3777 /var/run/postgresql \
    && mkdir -p /docker-entrypoint-initdb.d
COPY --chmod=755 postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
VOLUME ${VOLUME}
ENTRYPOINT ["docker-entrypoint.sh"]
STOPSIGNAL SIGINT
EXPOSE 5432
CMD ["postgres"]
