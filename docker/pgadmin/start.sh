#!/bin/sh
# Registers the database with pgAdmin, then runs the image's entrypoint. The login is $PGADMIN_DEFAULT_EMAIL, with
# $PGADMIN_DEFAULT_PASSWORD or, if unset, the database's password.
set -eu
umask 077
data=${PGADMIN_DATA:-/var/lib/pgadmin}
# pgAdmin keeps a user's files in a folder with the user's name.
storage=$data/storage/$(printf %s "$PGADMIN_DEFAULT_EMAIL" | tr @ _)

json() { printf %s "$1" | sed 's/[\\"]/\\&/g'; }
passfile() { printf %s "$1" | sed 's/[\\:]/\\&/g'; }

mkdir -p "$storage"
printf 'postgres:5432:*:%s:%s\n' "$(passfile "$POSTGRES_USER")" "$(passfile "$POSTGRES_PASSWORD")" >"$storage/pgpass"
cat >"$data/servers.json" <<END
{
  "Servers": {
    "1": {
      "Name": "web traffic",
      "Group": "Servers",
      "Host": "postgres",
      "Port": 5432,
      "MaintenanceDB": "$(json "$POSTGRES_DB")",
      "Username": "$(json "$POSTGRES_USER")",
      "ConnectionParameters": { "sslmode": "prefer", "passfile": "/pgpass" }
    }
  }
}
END

export PGADMIN_DEFAULT_PASSWORD="${PGADMIN_DEFAULT_PASSWORD:-$POSTGRES_PASSWORD}"
export PGADMIN_SERVER_JSON_FILE="$data/servers.json" PGADMIN_REPLACE_SERVERS_ON_STARTUP=True
exec "${@:-/entrypoint.sh}"
