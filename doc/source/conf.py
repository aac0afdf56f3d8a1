"""Configuration of Sphinx."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'ext'))

extensions = ['openstackdocstheme', 'oslo_config.sphinxext', 'oslo_policy.sphinxext',
              'rest_reference', 'sphinx.ext.autodoc']

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
