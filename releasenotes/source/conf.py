"""Configuration of Sphinx for the release notes."""

extensions = ['openstackdocstheme', 'reno.sphinxext']

project = 'CloudKitty release notes'
copyright = 'CloudKitty developers'
master_doc = 'index'
language = 'en'
pygments_style = 'native'

html_theme = 'openstackdocs'
openstackdocs_auto_name = False
openstackdocs_auto_version = False
openstackdocs_bug_project = 'cloudkitty'
openstackdocs_repo_name = 'openstack/cloudkitty'
openstackdocs_use_storyboard = False
