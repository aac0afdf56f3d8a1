"""Configuration of Sphinx for the release notes."""

extensions = ['reno.sphinxext']

project = 'CloudKitty release notes'
copyright = 'CloudKitty developers'
master_doc = 'index'
language = 'en'

html_theme = 'furo'
html_title = 'CloudKitty release notes'
