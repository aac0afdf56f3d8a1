import pathlib
import sys

import setuptools

# setup.cfg names a command that is there.
sys.path.insert(0, str(pathlib.Path(__file__).parent / 'tools'))
setuptools.setup(setup_requires=['pbr>=6.1.0'], pbr=True)
