"""Settings of Horizon; becomes openstack_dashboard/local/local_settings.py.

HORIZON_KEYSTONE_URL and HORIZON_FOLDER say which Keystone to ask and where sessions are kept.
"""

import os
import sys

DEBUG = False
ALLOWED_HOSTS = ['127.0.0.1']
# It guards sessions on loopback that last for minutes.
SECRET_KEY = os.environ.get('HORIZON_FOLDER', 'unused')
OPENSTACK_KEYSTONE_URL = os.environ.get('HORIZON_KEYSTONE_URL', 'http://127.0.0.1/v3')
OPENSTACK_KEYSTONE_DEFAULT_ROLE = 'member'
SESSION_ENGINE = 'django.contrib.sessions.backends.file'
SESSION_FILE_PATH = os.environ.get('HORIZON_FOLDER')
CACHES = {'default': {'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'}}
STATIC_ROOT = os.path.join(sys.prefix, 'static')
COMPRESS_OFFLINE = True
TIME_ZONE = 'UTC'
