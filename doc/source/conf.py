"""Configuration of Sphinx."""

extensions = ['openstackdocstheme', 'oslo_config.sphinxext', 'oslo_policy.sphinxext',
              'sphinx.ext.autodoc']

project = 'CloudKitty'
copyright = 'CloudKitty developers'
master_doc = 'index'
language = 'en'
exclude_patterns = []
pygments_style = 'native'

html_theme = 'openstackdocs'
openstackdocs_auto_name = False
openstackdocs_auto_version = False
openstackdocs_bug_project = 'cloudkitty'
openstackdocs_pdf_link = False
openstackdocs_repo_name = 'openstack/cloudkitty'
openstackdocs_use_storyboard = False
