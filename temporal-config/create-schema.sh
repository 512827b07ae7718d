#!/bin/sh
# Brings the Temporal server's two databases up to the schema of this version of its tools; safe to repeat, also for an
# upgrade. Runs where temporalio/admin-tools has its programs. SQL_HOST, SQL_PORT, SQL_USER and SQL_PASSWORD say where.
set -eu
export SQL_PLUGIN=postgres12

up_to_date() {
  temporal-sql-tool --database "$1" create-database
  temporal-sql-tool --database "$1" setup-schema --version 0.0
  temporal-sql-tool --database "$1" update-schema --schema-name "postgresql/v12/$2"
}

up_to_date temporal temporal
up_to_date temporal_visibility visibility
