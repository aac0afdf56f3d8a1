"""Reading the metric definition file."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import yaml

from cloudkitty import errors


class _Loader(yaml.SafeLoader):
    """The safe loader, except that a duplicate key in a mapping is an error."""

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.composer.ComposerError(
                        'while reading a mapping',
                        node.start_mark,
                        f'found {key.value!r} twice',
                        key.start_mark,
                    )
                seen.add((key.tag, key.value))
        return node


class Document(NamedTuple):
    """A parsed file.

    :ivar content: its content; an empty file is an empty mapping.
    """

    content: Any
    root: yaml.Node | None

    def place_of(self, path: Iterable) -> tuple[int, int]:
        """Return line and column, from 1, of *path*, or of its nearest existing parent.

        :param path: keys and indexes from the top.
        """
        node, mark = self.root, self.root and self.root.start_mark
        for step in path:
            below = _below(node, step)
            if below is None:
                break
            mark, node = below
        return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _below(node, step):
    """Return (place, node) of a key or an index, None if there is none."""
    if isinstance(node, yaml.MappingNode):
        return next(
            ((key.start_mark, value) for key, value in node.value if key.value == str(step)), None
        )
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return node.value[step].start_mark, node.value[step]
    return None


def load(path: str) -> Any:
    """Return the content of the YAML file *path*, see read()."""
    return read(path).content


def read(path: str) -> Document:
    """Parse the YAML file *path*; return its content with the places in it.

    :raises MetricsFileError: it cannot be read, or is no YAML; the fact `place` of the error is
        line and column, if they are known.
    """
    try:
        with open(path, encoding='utf-8') as file:
            loader = _Loader(file)
            root = loader.get_single_node()
            content = None if root is None else loader.construct_document(root)
    except OSError as exc:
        raise errors.MetricsFileError(path=path, reason=exc.strerror or exc) from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        mark = getattr(exc, 'problem_mark', None)
        # On one line: YAML errors put the place on separate lines.
        raise errors.MetricsFileError(
            path=path,
            reason=f'no valid YAML: {" ".join(str(exc).split())}',
            place=(mark.line + 1, mark.column + 1) if mark else (1, 1),
        ) from exc
    return Document({} if content is None else content, root)
