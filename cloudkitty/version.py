from pbr import version


def version_string() -> str:
    """Return the version of the installed package."""
    return version.VersionInfo('cloudkitty').release_string()
