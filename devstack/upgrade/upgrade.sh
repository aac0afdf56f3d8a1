#!/usr/bin/env bash
# Bring the base release to the target: code, database, processes.
set -o errexit

source "$GRENADE_DIR/grenaderc"
source "$GRENADE_DIR/functions"

source "$TARGET_DEVSTACK_DIR/functions"
source "$TARGET_DEVSTACK_DIR/stackrc"
source "$TARGET_DEVSTACK_DIR/lib/tls"
source "$TARGET_DEVSTACK_DIR/lib/apache"

CLOUDKITTY_PLUGIN_DIR=$(dirname "$(dirname "$0")")
source "$CLOUDKITTY_PLUGIN_DIR/settings"
# Without a phase it only defines functions.
source "$CLOUDKITTY_PLUGIN_DIR/plugin.sh"

set -o xtrace

install_cloudkitty
# A database of a release from 9.0 to 25.0 is adopted; times of its rules are local ones.
"$CLOUDKITTY_BIN_DIR/cloudkitty-status" --config-file "$CLOUDKITTY_CONF" upgrade check || [[ $? -eq 1 ]] ||
    echo "A check has failed: the next command says whether that stops the upgrade."
"$CLOUDKITTY_BIN_DIR/cloudkitty-dbsync" --config-file "$CLOUDKITTY_CONF" upgrade
# A store of a former release is read by cloudkitty-storage import only.
iniset "$CLOUDKITTY_CONF" storage backend sql
"$CLOUDKITTY_BIN_DIR/cloudkitty-storage-init" --config-file "$CLOUDKITTY_CONF"
start_cloudkitty
ensure_services_started cloudkitty-api cloudkitty-processor
