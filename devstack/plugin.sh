#!/usr/bin/env bash
# The CloudKitty plugin of devstack, see README.rst. Variables are in the file settings.
#
# Processes: ck-api serves the REST API, ck-proc rates; with CLOUDKITTY_METERING ck-agent-compute
# and ck-agent-central measure.

# Save trace setting
XTRACE=$(set +o | grep xtrace)
set +o xtrace

CLOUDKITTY_SERVICE_URL=$CLOUDKITTY_SERVICE_PROTOCOL://$CLOUDKITTY_SERVICE_HOSTPORT
if [[ "$CLOUDKITTY_USE_UWSGI" == True || "$CLOUDKITTY_USE_UWSGI" == true ]]; then
    CLOUDKITTY_USE_UWSGI=true
    CLOUDKITTY_SERVICE_URL=$CLOUDKITTY_SERVICE_PROTOCOL://$CLOUDKITTY_SERVICE_HOST/rating
fi

function is_cloudkitty_enabled {
    is_service_enabled ck-api ck-proc
}

function has_cloudkitty_dashboard {
    is_service_enabled horizon
}

# install_cloudkitty() - the service with the drivers that it needs here
function install_cloudkitty {
    local extras=memcached
    if [[ "$DATABASE_TYPE" == postgresql ]]; then extras+=,postgresql; else extras+=,mysql; fi
    if [[ "$CLOUDKITTY_FETCHER $CLOUDKITTY_COLLECTOR" == *gnocchi* ]]; then extras+=,gnocchi; fi
    setup_develop "$CLOUDKITTY_DIR" "$extras"
}

function install_cloudkittyclient {
    if use_library_from_git python-cloudkittyclient; then
        git_clone_by_name python-cloudkittyclient
        setup_dev_lib python-cloudkittyclient
    else
        pip_install_gr python-cloudkittyclient
    fi
}

function install_cloudkitty_dashboard {
    git_clone "$CLOUDKITTYDASHBOARD_REPO" "$CLOUDKITTY_DASHBOARD_DIR" "$CLOUDKITTYDASHBOARD_BRANCH"
    setup_develop "$CLOUDKITTY_DASHBOARD_DIR"
}

# configure_cloudkitty() - write the configuration files
function configure_cloudkitty {
    if [[ "$CLOUDKITTY_STORAGE_BACKEND" != sql ]]; then
        die $LINENO "CLOUDKITTY_STORAGE_BACKEND=$CLOUDKITTY_STORAGE_BACKEND: this release keeps rated data in the SQL database; remove it"
    fi
    sudo install -d -o "$STACK_USER" "$CLOUDKITTY_CONF_DIR" "$CLOUDKITTY_API_LOG_DIR"
    rm -f "$CLOUDKITTY_CONF"
    touch "$CLOUDKITTY_CONF"
    chmod 640 "$CLOUDKITTY_CONF"
    oslopolicy-sample-generator --namespace cloudkitty --output-file "$CLOUDKITTY_CONF_DIR/policy.yaml"
    cp "$CLOUDKITTY_DIR/etc/cloudkitty/$CLOUDKITTY_METRICS_CONF" "$CLOUDKITTY_CONF_DIR/metrics.yml"

    iniset "$CLOUDKITTY_CONF" DEFAULT debug "$ENABLE_DEBUG_LOG_LEVEL"
    iniset "$CLOUDKITTY_CONF" DEFAULT auth_strategy "$CLOUDKITTY_AUTH_STRATEGY"
    iniset "$CLOUDKITTY_CONF" database connection "$(database_connection_url cloudkitty)"
    iniset "$CLOUDKITTY_CONF" oslo_policy policy_file "$CLOUDKITTY_CONF_DIR/policy.yaml"
    iniset "$CLOUDKITTY_CONF" orchestrator coordination_url "file://$CLOUDKITTY_DATA_DIR/locks"
    iniset "$CLOUDKITTY_CONF" storage backend "$CLOUDKITTY_STORAGE_BACKEND"
    if is_service_enabled rabbit; then
        iniset_rpc_backend cloudkitty "$CLOUDKITTY_CONF"
    fi
    setup_logging "$CLOUDKITTY_CONF"
    configure_cloudkitty_accounts
    configure_cloudkitty_source
    if [[ "$CLOUDKITTY_METERING" == true ]]; then configure_cloudkitty_metering; fi
    configure_cloudkitty_api
}

function configure_cloudkitty_accounts {
    configure_keystone_authtoken_middleware "$CLOUDKITTY_CONF" cloudkitty
    iniset "$CLOUDKITTY_CONF" authinfos auth_type password
    iniset "$CLOUDKITTY_CONF" authinfos auth_url "$KEYSTONE_SERVICE_URI"
    iniset "$CLOUDKITTY_CONF" authinfos username cloudkitty
    iniset "$CLOUDKITTY_CONF" authinfos password "$SERVICE_PASSWORD"
    iniset "$CLOUDKITTY_CONF" authinfos project_name "$SERVICE_PROJECT_NAME"
    iniset "$CLOUDKITTY_CONF" authinfos user_domain_name "$SERVICE_DOMAIN_NAME"
    iniset "$CLOUDKITTY_CONF" authinfos project_domain_name "$SERVICE_DOMAIN_NAME"
}

function configure_cloudkitty_source {
    iniset "$CLOUDKITTY_CONF" fetcher backend "$CLOUDKITTY_FETCHER"
    iniset "$CLOUDKITTY_CONF" collect collector "$CLOUDKITTY_COLLECTOR"
    iniset "$CLOUDKITTY_CONF" collect metrics_conf "$CLOUDKITTY_CONF_DIR/metrics.yml"
    # Tests do not want to wait for hours.
    iniset "$CLOUDKITTY_CONF" collect wait_periods 0
    local section
    for section in "fetcher_$CLOUDKITTY_FETCHER" "collector_$CLOUDKITTY_COLLECTOR"; do
        case $section in
            *_prometheus) iniset "$CLOUDKITTY_CONF" "$section" prometheus_url "$CLOUDKITTY_PROMETHEUS_URL" ;;
            *_gnocchi|*_keystone) iniset "$CLOUDKITTY_CONF" "$section" auth_section authinfos ;;
        esac
        if [[ "$section" == *_gnocchi ]]; then
            iniset "$CLOUDKITTY_CONF" "$section" region_name "$REGION_NAME"
        fi
    done
    if [[ "$CLOUDKITTY_COLLECTOR" == prometheus ]]; then
        iniset "$CLOUDKITTY_CONF" collect scope_key tenant_id
    fi
    if [[ "$CLOUDKITTY_FETCHER" == prometheus ]]; then
        iniset "$CLOUDKITTY_CONF" fetcher_prometheus metric "$CLOUDKITTY_FETCHER_METRIC"
        iniset "$CLOUDKITTY_CONF" fetcher_prometheus scope_attribute "$CLOUDKITTY_FETCHER_SCOPE_ATTRIBUTE"
    fi
}

# configure_cloudkitty_metering() - the intake, the agents, and what services send
function configure_cloudkitty_metering {
    if ! is_service_enabled rabbit; then
        die $LINENO "CLOUDKITTY_METERING=true needs a message bus: enable_service rabbit"
    fi
    iniset "$CLOUDKITTY_CONF" metering workers 1
    iniset "$CLOUDKITTY_CONF" metering secrets "${CLOUDKITTY_METERING_SECRET:-cloudkitty-metering-$SERVICE_PASSWORD}"
    iniset "$CLOUDKITTY_CONF" agent interval "$CLOUDKITTY_AGENT_INTERVAL"
    iniset "$CLOUDKITTY_CONF" agent spool_folder "$CLOUDKITTY_DATA_DIR/spool"
    iniset "$CLOUDKITTY_CONF" pollster_openstack auth_section authinfos
    iniset "$CLOUDKITTY_CONF" pollster_openstack region_name "$REGION_NAME"
    iniset "$CLOUDKITTY_CONF" pollster_openstack interface public
    # Readers of a queue share its messages.
    if is_service_enabled ceilometer-anotification; then
        iniset "$CLOUDKITTY_CONF" listener pool cloudkitty
    fi
    local file
    for file in "${NOVA_CONF:-}" "${CINDER_CONF:-}" "${GLANCE_API_CONF:-}" "${NEUTRON_CONF:-}"; do
        if [[ -f "$file" ]]; then
            iniset "$file" oslo_messaging_notifications driver messagingv2
        fi
    done
}

function configure_cloudkitty_api {
    if [[ "$CLOUDKITTY_USE_UWSGI" == true ]]; then
        write_uwsgi_config "$CLOUDKITTY_UWSGI_CONF" "cloudkitty.wsgi.api:application" /rating "" cloudkitty
        # With it uWSGI is ready though the application cannot be loaded.
        inidelete "$CLOUDKITTY_UWSGI_CONF" uwsgi lazy-apps
        iniset "$CLOUDKITTY_UWSGI_CONF" uwsgi need-app true
        iniset "$CLOUDKITTY_UWSGI_CONF" uwsgi threads 8
        iniset "$CLOUDKITTY_UWSGI_CONF" uwsgi buffer-size 65535
        iniset "$CLOUDKITTY_UWSGI_CONF" uwsgi env "CLOUDKITTY_CONFIG_FILES=$CLOUDKITTY_CONF"
    else
        iniset "$CLOUDKITTY_CONF" api host "$(ipv6_unquote "$CLOUDKITTY_SERVICE_HOST")"
        iniset "$CLOUDKITTY_CONF" api port "$CLOUDKITTY_SERVICE_PORT"
    fi
}

# create_cloudkitty_accounts() - user, service, endpoints, and the role of projects to rate
function create_cloudkitty_accounts {
    create_service_user cloudkitty admin
    get_or_create_service cloudkitty rating "OpenStack Rating Service"
    get_or_create_endpoint rating "$REGION_NAME" "$CLOUDKITTY_SERVICE_URL"
    get_or_create_role rating
    get_or_add_user_project_role rating cloudkitty demo
}

function link_cloudkitty_dashboard {
    local panel
    for panel in "$CLOUDKITTY_ENABLED_DIR"/_[0-9]*.py; do
        ln -sf "$panel" "$CLOUDKITTY_HORIZON_ENABLED_DIR/"
    done
}

# init_cloudkitty() - database and directories
function init_cloudkitty {
    sudo install -d -o "$STACK_USER" "$CLOUDKITTY_DATA_DIR" "$CLOUDKITTY_DATA_DIR/locks"
    recreate_database cloudkitty
    "$CLOUDKITTY_BIN_DIR/cloudkitty-dbsync" --config-file "$CLOUDKITTY_CONF" upgrade
    "$CLOUDKITTY_BIN_DIR/cloudkitty-storage-init" --config-file "$CLOUDKITTY_CONF"
}

function start_cloudkitty {
    run_process ck-proc "$CLOUDKITTY_BIN_DIR/cloudkitty-processor --config-file $CLOUDKITTY_CONF"
    if [[ "$CLOUDKITTY_USE_UWSGI" == true ]]; then
        run_process ck-api "$CLOUDKITTY_BIN_DIR/uwsgi --procname-prefix cloudkitty-api --ini $CLOUDKITTY_UWSGI_CONF"
    else
        run_process ck-api "$CLOUDKITTY_BIN_DIR/cloudkitty-api --config-file $CLOUDKITTY_CONF"
    fi
    echo "Waiting for ck-api to start..."
    if ! wait_for_service "$SERVICE_TIMEOUT" "$CLOUDKITTY_SERVICE_URL/healthcheck"; then
        die $LINENO "ck-api did not start"
    fi
    local namespace
    for namespace in compute central; do
        if is_service_enabled "ck-agent-$namespace"; then
            run_process "ck-agent-$namespace" "$CLOUDKITTY_BIN_DIR/cloudkitty-agent --config-file $CLOUDKITTY_CONF --namespace $namespace"
        fi
    done
}

function stop_cloudkitty {
    stop_process ck-api
    stop_process ck-proc
    local namespace
    for namespace in compute central; do
        if is_service_enabled "ck-agent-$namespace"; then stop_process "ck-agent-$namespace"; fi
    done
}

function cleanup_cloudkitty {
    if [[ "$CLOUDKITTY_USE_UWSGI" == true ]]; then
        remove_uwsgi_config "$CLOUDKITTY_UWSGI_CONF" cloudkitty
    fi
    sudo rm -rf "$CLOUDKITTY_CONF_DIR" "$CLOUDKITTY_DATA_DIR"
    local panel
    if has_cloudkitty_dashboard; then
        for panel in "$CLOUDKITTY_ENABLED_DIR"/_[0-9]*.py; do
            rm -f "$CLOUDKITTY_HORIZON_ENABLED_DIR/${panel##*/}"
        done
    fi
}

if is_cloudkitty_enabled; then
    CLOUDKITTY_BIN_DIR=$(get_python_exec_prefix)
    case "${1:-} ${2:-}" in
        "stack install")
            echo_summary "Installing CloudKitty"
            install_cloudkitty
            install_cloudkittyclient
            if has_cloudkitty_dashboard; then install_cloudkitty_dashboard; fi
            ;;
        "stack post-config")
            echo_summary "Configuring CloudKitty"
            configure_cloudkitty
            if has_cloudkitty_dashboard; then link_cloudkitty_dashboard; fi
            if is_service_enabled keystone; then create_cloudkitty_accounts; fi
            ;;
        "stack extra")
            echo_summary "Starting CloudKitty"
            init_cloudkitty
            start_cloudkitty
            ;;
        "unstack "*)
            stop_cloudkitty
            ;;
        "clean "*)
            cleanup_cloudkitty
            ;;
    esac
fi

# Restore trace setting
$XTRACE
