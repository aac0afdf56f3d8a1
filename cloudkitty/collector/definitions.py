"""Reading the metric definition file."""

from typing import Any

import yaml

from cloudkitty import errors


class _Loader(yaml.SafeLoader):
    """The safe loader; a key that stands twice in a mapping is an error, not the loss of one."""

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.composer.ComposerError(
                        'while reading a mapping', node.start_mark, f'found {key.value!r} twice',
                        key.start_mark)
                seen.add((key.tag, key.value))
        return node


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
