"""What setup.cfg has setuptools do otherwise when it builds a wheel."""

from setuptools.command import build_py

TESTS = 'cloudkitty.tests'
# What authors of drivers test theirs with.
SHIPPED = (TESTS, f'{TESTS}.conformance')


class BuildWithoutTests(build_py.build_py):
    """Leaves the tests of the service out of wheels; the sdist has them."""

    command_name = 'build_py'

    def finalize_options(self):
        super().finalize_options()
        self.packages = [
            name for name in self.packages if not name.startswith(TESTS) or name in SHIPPED
        ]

    def find_package_modules(self, package, package_dir):
        found = super().find_package_modules(package, package_dir)
        return [entry for entry in found if package != TESTS or entry[1] == '__init__']

    def find_data_files(self, package, src_dir):
        return [
            path
            for path in super().find_data_files(package, src_dir)
            if not path.startswith('cloudkitty/tests/')
        ]
