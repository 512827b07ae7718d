#!/bin/sh
# Registers the database with pgAdmin, then starts it as its image does. The login is $PGADMIN_DEFAULT_EMAIL with the
# database's password, unless PGADMIN_DEFAULT_PASSWORD is another.
set -eu
umask 077
data=${PGADMIN_DATA:-/var/lib/pgadmin}
# pgAdmin looks for a user's files in a folder of the user's name.
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
