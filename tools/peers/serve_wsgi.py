"""Serve a WSGI application on loopback: serve_wsgi.py MODULE:NAME PORT.

Run by the Python of another service's environment, so it imports nothing of ours.
"""

import importlib
import sys

import waitress

THREADS = 8


def main():
    module, _, name = sys.argv[1].partition(':')
    port = int(sys.argv[2])
    # Keystone takes what is here for its own arguments.
    del sys.argv[1:]
    application = getattr(importlib.import_module(module), name)
    waitress.serve(application, host='127.0.0.1', port=port, threads=THREADS, _quiet=True)


if __name__ == '__main__':
    main()
