#!/bin/sh
# A database that lives as long as its environment: nothing here needs to survive a crash, so nothing waits for the disk.
set -eu
PATH=/usr/lib/postgresql/15/bin:$PATH
PORT=${PORT:-5432}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --pgdata="$PGDATA" --username=shop --auth=trust --no-sync --no-instructions --encoding=UTF8 --locale=C.UTF-8 >/dev/null
  echo 'host all all all trust' >>"$PGDATA/pg_hba.conf"
  echo 'CREATE DATABASE shop' | postgres --single -D "$PGDATA" -c fsync=off postgres >/dev/null
fi
exec postgres -D "$PGDATA" -p "$PORT" -c listen_addresses='*' -c unix_socket_directories="$PGDATA" \
  -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c shared_buffers=32MB -c max_connections=200
