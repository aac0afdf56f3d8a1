"""The tree of errors."""

import re

from cloudkitty import errors


def test_the_header_shows_the_whole_tree():
    """Each class stands in the header of the module, below the class it derives from."""
    shown, above = {}, ['ServiceError']
    for branch, name in re.findall(r'^([│ ]*)[├└]── (\w+)', errors.__doc__, re.MULTILINE):
        depth = len(branch) // 4 + 1
        above[depth:] = [name]
        shown[name] = above[depth - 1]

    assert shown == {
        value.__name__: value.__base__.__name__
        for value in vars(errors).values()
        if isinstance(value, type)
        and issubclass(value, errors.ServiceError)
        and value is not errors.ServiceError
    }
