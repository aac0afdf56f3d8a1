# shellcheck shell=bash
# shellcheck disable=SC2034
# Stand-ins for what devstack offers to plugins: files are written as by devstack, and what would
# change the machine is recorded, a line each, in $CALLS.

STACK_USER=$(id -un)
SERVICE_HOST=${SERVICE_HOST:-127.0.0.1}
SERVICE_PROTOCOL=http
SERVICE_PASSWORD=secret
SERVICE_PROJECT_NAME=service
SERVICE_DOMAIN_NAME=Default
SERVICE_TIMEOUT=60
KEYSTONE_SERVICE_URI=http://127.0.0.1/identity
REGION_NAME=RegionOne
GIT_BASE=https://opendev.org
ENABLE_DEBUG_LOG_LEVEL=False
HORIZON_DIR=$DEST/horizon
declare -A GITREPO GITBRANCH GITDIR

record() { echo "$*" >>"$CALLS"; }
for name in setup_develop setup_dev_lib git_clone git_clone_by_name pip_install_gr recreate_database \
    create_service_user get_or_create_service get_or_create_endpoint get_or_create_role \
    get_or_add_user_project_role run_process stop_process wait_for_service iniset_rpc_backend \
    setup_logging remove_uwsgi_config enable_service; do
    eval "$name() { record $name \"\$@\"; }"
done

is_service_enabled() {
    local name
    for name in "$@"; do [[ ",$ENABLED_SERVICES," == *",$name,"* ]] && return 0; done
    return 1
}
use_library_from_git() { [[ ",$LIBS_FROM_GIT," == *",$1,"* ]]; }
get_python_exec_prefix() { echo "$BIN_DIR"; }
database_connection_url() { echo "$CONNECTION"; }
ipv6_unquote() { echo "$1" | tr -d '[]'; }
echo_summary() { echo "$*"; }
die() { echo "[ERROR] line $1: $2" >&2; exit 1; }
sudo() { "$@"; }

change_ini() {
    "$BIN_DIR/python" - "$@" <<'PYTHON'
import configparser, sys
path, section, key, *value = sys.argv[1:]
parser = configparser.RawConfigParser()
parser.optionxform = str
parser.read(path)
if section != 'DEFAULT' and not parser.has_section(section):
    parser.add_section(section)
parser.set(section, key, value[0]) if value else parser.remove_option(section, key)
with open(path, 'w') as file:
    parser.write(file)
PYTHON
}
iniset() { change_ini "$1" "$2" "$3" "$4"; }
inidelete() { change_ini "$1" "$2" "$3"; }

configure_keystone_authtoken_middleware() {
    iniset "$1" keystone_authtoken auth_type password
    iniset "$1" keystone_authtoken auth_url "$KEYSTONE_SERVICE_URI"
    iniset "$1" keystone_authtoken username "$2"
    iniset "$1" keystone_authtoken password "$SERVICE_PASSWORD"
    iniset "$1" keystone_authtoken project_name "$SERVICE_PROJECT_NAME"
    iniset "$1" keystone_authtoken user_domain_name "$SERVICE_DOMAIN_NAME"
    iniset "$1" keystone_authtoken project_domain_name "$SERVICE_DOMAIN_NAME"
    iniset "$1" keystone_authtoken service_token_roles_required True
}

write_uwsgi_config() {
    record write_uwsgi_config "$@"
    cat >"$1" <<INI
[uwsgi]
module = $2
http = 127.0.0.1:$UWSGI_PORT
processes = 2
master = true
die-on-term = true
exit-on-reload = false
worker-reload-mercy = 60
enable-threads = true
lazy-apps = true
thunder-lock = true
buffer-size = 65535
add-header = Connection: close
INI
}
