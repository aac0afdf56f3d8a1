#!/usr/bin/env bash
# Stop what the base release runs, and check that it has stopped.
set -o errexit

source "$GRENADE_DIR/grenaderc"
source "$GRENADE_DIR/functions"

source "$BASE_DEVSTACK_DIR/functions"
source "$BASE_DEVSTACK_DIR/stackrc"
source "$BASE_DEVSTACK_DIR/lib/tls"

set -o xtrace

stop_process ck-api
stop_process ck-proc
ensure_services_stopped cloudkitty-api cloudkitty-processor
