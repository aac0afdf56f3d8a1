"""Reading the metric definition file."""

from collections.abc import Hashable
from typing import Any

import yaml

from cloudkitty import errors


class _Loader(yaml.SafeLoader):
    """The safe loader; a key that stands twice in a mapping is an error, not the loss of one."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    'while reading a mapping', node.start_mark, f'found {key!r} twice',
                    key_node.start_mark)
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load(path: str) -> Any:
    """Return what the YAML file *path* holds; an empty file is an empty mapping.

    :raises MetricsFileError: it cannot be read, or is no YAML.
    """
    try:
        with open(path, encoding='utf-8') as file:
            content = yaml.load(file, _Loader)
    except OSError as exc:
        raise errors.MetricsFileError(path=path, reason=exc.strerror or exc) from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        # One line: YAML errors carry the place on lines of their own.
        raise errors.MetricsFileError(
            path=path, reason=f'no valid YAML: {" ".join(str(exc).split())}') from exc
    return {} if content is None else content
