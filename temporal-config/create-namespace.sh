#!/bin/sh
# Creates the namespace where it is missing, and in it the search attributes that the pipeline's workflows bear; safe to
# repeat. Runs where the Temporal CLI is. TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE say where; a new namespace keeps closed
# workflows for NAMESPACE_RETENTION (7d).
set -eu
namespace=${TEMPORAL_NAMESPACE:-default}
export TEMPORAL_NAMESPACE="$namespace"

attempts=60
wait_for() {
  until "$@" >/dev/null 2>&1; do
    attempts=$((attempts - 1))
    if [ "$attempts" -le 0 ]; then
      echo "given up on: $*" >&2
      "$@" # fails once more, to say why
      exit 1
    fi
    sleep 1
  done
}

search_attributes() {
  temporal operator search-attribute list --output json
}

has_attribute() {
  search_attributes | grep -q "\"$1\""
}

wait_for temporal operator cluster health
temporal operator namespace describe >/dev/null 2>&1 ||
  temporal operator namespace create --namespace "$namespace" --retention "${NAMESPACE_RETENTION:-7d}"
# The server sees a new namespace, and a new attribute, only when it next looks.
wait_for search_attributes

while read -r name type; do
  if has_attribute "$name" </dev/null; then continue; fi
  temporal operator search-attribute create --name "$name" --type "$type" </dev/null
  wait_for has_attribute "$name" </dev/null
done <<END
Pipeline Keyword
WindowStart Datetime
WindowEnd Datetime
WindowStatus Keyword
WindowRevision Int
LateHits Int
END
echo "namespace $namespace is ready"
