#!/usr/bin/env bash
# A price that is there before the upgrade has to be there afterwards.
set -o errexit

source "$GRENADE_DIR/grenaderc"
source "$GRENADE_DIR/functions"

source "$TOP_DIR/openrc" admin admin

set -o xtrace

function create {
    local service field
    service=$(openstack rating hashmap service create test_service -f value -c "Service ID")
    field=$(openstack rating hashmap field create "$service" test_field -f value -c "Field ID")
    openstack rating hashmap mapping create 3 --field-id "$field" --value test_value -t flat
    resource_save cloudkitty service_id "$service"
    resource_save cloudkitty field_id "$field"
}

function verify {
    local service field
    service=$(resource_get cloudkitty service_id)
    field=$(resource_get cloudkitty field_id)
    openstack rating hashmap service get "$service" | grep test_service
    openstack rating hashmap field get "$field" | grep test_field
    openstack rating hashmap mapping list --field-id "$field" | grep test_value
    [[ $(openstack rating hashmap mapping list --field-id "$field" -f value -c Cost) == 3* ]]
}

function verify_noapi {
    :
}

function destroy {
    openstack rating hashmap service delete "$(resource_get cloudkitty service_id)"
}

case $1 in
    create) create ;;
    verify) verify ;;
    verify_noapi) verify_noapi ;;
    destroy) destroy ;;
    force_destroy) set +o errexit; destroy ;;
esac
