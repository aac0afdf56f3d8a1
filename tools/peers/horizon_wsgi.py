"""Horizon with its static files, for serve_wsgi.py."""

from django.conf import settings
from openstack_dashboard.wsgi import application as dashboard
from whitenoise import WhiteNoise

application = WhiteNoise(dashboard, root=settings.STATIC_ROOT, prefix='static/')
