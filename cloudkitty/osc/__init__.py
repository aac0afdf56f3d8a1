"""Plug-in of the OpenStack client: statements, accounts, budgets and plans; extra `client`.

Source: https://docs.openstack.org/python-openstackclient/latest/contributor/plugins.html.
"""
