"""The walls between the modules of the Rust crates, read from their imports.

- No file imports what leads back to it: the imports of a crate's files have no circle.
- NEVER lists what may not import what.

Only code that is built into a program counts: not tests, and not the simulation. A re-export
(`pub use`) in a facade is no import of its own; who imports from the facade imports what stands
behind it.
"""
import pathlib
import re

CRATES = {'zeo_proto': 'proto/src', 'zeo_storage': 'storage/src', 'zeo_client': 'client/src',
          'zeo_server': 'server/src'}

# (who, never imports whom, why). A name is a file or folder below the root, without its ending.
NEVER = [
    ('proto/src', 'storage/src', 'the protocol knows no storage'),
    ('storage/src', 'server/src', 'a storage knows no server'),
    ('storage/src', 'client/src', 'a storage knows no client'),
    ('client/src', 'server/src', 'a client knows no server'),
    ('client/src/connection', 'client/src/probe', 'a connection knows nothing that is made of it'),
    ('client/src/cache', 'client/src/connection', 'a cache knows no server'),
    ('client/src/record', 'client/src/client_storage', 'a record knows no storage'),
    ('client/src/record', 'client/src/db', 'a record knows no transaction'),
    ('client/src/client_storage', 'client/src/db', 'a storage knows no objects'),
    ('client/src/btrees', 'client/src/db', 'a tree knows no transaction but its trait'),
    ('storage/src/storage', 'storage/src/file_storage', 'the trait knows no implementation'),
    ('storage/src/storage', 'storage/src/mapping_storage', 'the trait knows no implementation'),
    ('storage/src/storage', 'storage/src/demo_storage', 'the trait knows no implementation'),
    ('storage/src/storage', 'storage/src/zlib_storage', 'the trait knows no implementation'),
    ('storage/src/python', 'storage/src/btrees', 'values know no BTrees'),
    ('storage/src/python', 'storage/src/conflict', 'values know no conflicts'),
    ('storage/src/btrees', 'storage/src/conflict', 'states know no merge'),
    ('storage/src/conflict', 'storage/src/file_storage', 'a merge knows no file'),
    ('storage/src/file_storage/format', 'storage/src/file_storage/open',
     'the bytes know no recovery policy'),
    ('storage/src/file_storage/format', 'storage/src/file_storage/commit', 'bytes know no commit'),
    ('storage/src/file_storage/format', 'storage/src/file_storage/pack', 'bytes know no pack'),
    ('storage/src/zconfig', 'storage/src/config', 'the language knows no section'),
    ('server/src/messages', 'server/src/session', 'messages know no session'),
    ('server/src/messages', 'server/src/commit', 'messages know no coordinator'),
    ('server/src/commit', 'server/src/session', 'the coordinator knows no session'),
    ('server/src/session', 'server/src/server', 'sessions know no composition'),
    ('server/src/session', 'server/src/monitor', 'who works does not know who watches'),
    ('server/src/server', 'server/src/monitor', 'who works does not know who watches'),
    ('server/src/status', 'server/src/server', 'counters know no composition'),
    ('server/src/session', 'server/src/process', 'sessions know no process'),
    ('server/src/session', 'server/src/config', 'sessions know no configuration'),
    ('server/src/tools', 'server/src/session', 'tools are clients'),
    ('server/src/tools', 'server/src/commit', 'tools are clients'),
    ('server/src/tools', 'server/src/net', 'tools are clients'),
]
TEST_FOLDERS = {'tests', 'testing', 'simulation', 'bin', 'golden'}

USE = re.compile(r'^( *)(pub(?:\([^)]*\))? +)?use +([^;]+);', re.MULTILINE)
INLINE = re.compile(r'(?<![\w:])((?:crate|super|self|zeo_\w+)(?:::\w+)+)')
MODULE = re.compile(r'^((?:#\[[^\]]*\]\n)*)(?:pub(?:\([^)]*\))? +)?mod +(\w+);', re.MULTILINE)


def problems(root):
    """A line for each broken wall, and for each circle."""
    tree = Tree(pathlib.Path(root))
    yield from tree.broken_walls()
    yield from tree.circles()


class Tree:
    """The files of all crates, and which of them imports which."""

    def __init__(self, root):
        self.root = root
        self.modules = {}  # ('zeo_storage', 'disk', 'paths') -> 'storage/src/disk/paths'
        self.texts = {}
        for crate, folder in CRATES.items():
            self.add(crate, (crate,), root / folder / 'lib.rs')
        self.exports = {module: dict(self.reexports(module)) for module in self.modules}
        self.imports = {self.modules[module]: set(self.imported(module)) for module in self.modules}

    def add(self, crate, module, path):
        """A file, and those of its modules that are built into a program."""
        text = path.read_text()
        self.modules[module] = str(path.relative_to(self.root))[:-len('.rs')]
        self.texts[module] = without_tests(text)
        folder = path.parent if path.name in ('mod.rs', 'lib.rs') else path.with_suffix('')
        for attributes, name in MODULE.findall(text):
            if 'cfg(test)' in attributes or name in TEST_FOLDERS:
                continue
            found = [p for p in (folder / f'{name}.rs', folder / name / 'mod.rs') if p.exists()]
            if found:
                self.add(crate, (*module, name), found[0])

    def reexports(self, module):
        """(name, the path that stands behind it) for each `pub use` of a module."""
        for _indent, public, tree in USE.findall(self.texts[module]):
            if public:
                for path, name in paths(tree):
                    yield name, absolute(module, path, self.modules)

    def imported(self, module):
        """The files that a module imports from or names."""
        text = self.texts[module]
        named = [path for _indent, public, tree in USE.findall(text) for path, _name in paths(tree)
                 if not public or not self.is_below(absolute(module, path, self.modules), module)]
        named += [path.split('::') for path in INLINE.findall(USE.sub('', text))]
        for path in named:
            file = self.file(absolute(module, path, self.modules))
            if file and file != self.modules[module]:
                yield file

    def is_below(self, path, module):
        """Whether a path leads to what a module holds: then it is its facade."""
        return path is not None and path[:len(module)] == module

    def file(self, path, depth=0):
        """The file in which the last name of a path is defined."""
        if not path or depth > 8:
            return None
        for length in range(len(path), 0, -1):
            module = tuple(path[:length])
            if module in self.modules:
                rest = path[length:]
                behind = self.exports[module].get(rest[0]) if rest else None
                if behind and behind != tuple(path):
                    return self.file((*behind, *rest[1:]), depth + 1)
                return self.modules[module]
        return None

    def broken_walls(self):
        for who, whom, why in NEVER:
            if not any(inside(file, who) for file in self.imports):
                yield f'tests/walls.py: there is no {who}'
            for file, imported in sorted(self.imports.items()):
                if inside(file, who):
                    for other in sorted(imported):
                        if inside(other, whom):
                            yield f'{file}.rs imports {other}.rs: {why}'

    def circles(self):
        """Files that import each other in a ring (strongly connected parts, by Tarjan)."""
        index, low, stack, found = {}, {}, [], []

        def visit(file):
            index[file] = low[file] = len(index)
            stack.append(file)
            for other in self.imports[file]:
                if other not in index:
                    visit(other)
                    low[file] = min(low[file], low[other])
                elif other in stack:
                    low[file] = min(low[file], index[other])
            if low[file] == index[file]:
                ring = []
                while not ring or ring[-1] != file:
                    ring.append(stack.pop())
                if len(ring) > 1:
                    found.append(sorted(ring))

        for file in sorted(self.imports):
            if file not in index:
                visit(file)
        for ring in found:
            arrows = [f'{a} -> {b}' for a in ring for b in sorted(self.imports[a] & set(ring))]
            yield f'a circle of {len(ring)} files: ' + ', '.join(arrows)


def inside(file, place):
    return file == place or file.startswith(place + '/')


def without_tests(text):
    """The text without its module of tests, and without comments."""
    text = re.split(r'^#\[cfg\(test\)\]\n(?:#\[[^\]]*\]\n)*mod \w+ \{', text, flags=re.MULTILINE)[0]
    text = re.sub(r'#\[cfg\(test\)\]\n(?: *#\[[^\]]*\]\n)* *(?:pub(?:\([^)]*\))? )?use [^;]*;', '', text)
    return re.sub(r'//[^\n]*', '', text)


def paths(tree, before=()):
    """(path, name) for each name that a `use` brings in: `a::{b, c as d}`."""
    tree = ' '.join(tree.split())
    head, brace, rest = tree.partition('{')
    if not brace:
        path, _as, alias = tree.partition(' as ')
        path = [*before, *(part for part in path.strip().split('::') if part)]
        if path and path[-1] == 'self':
            path = path[:-1]
        if path:
            yield path, alias.strip() or path[-1]
        return
    prefix = [*before, *(part for part in head.strip().split('::') if part)]
    for item in split(rest.rpartition('}')[0]):
        yield from paths(item, prefix)


def split(items):
    """What stands between the commas that are in no braces."""
    depth, start = 0, 0
    for at, char in enumerate(items):
        depth += {'{': 1, '}': -1}.get(char, 0)
        if char == ',' and not depth:
            yield items[start:at].strip()
            start = at + 1
    if items[start:].strip():
        yield items[start:].strip()


def absolute(module, path, modules):
    """A path from the front of its crate on; None when it is of another package."""
    path = list(path)
    if path[0] == 'crate':
        return (module[0], *path[1:])
    if path[0] in CRATES:
        return tuple(path)
    if path[0] == 'self':
        return (*module, *path[1:])
    up = 0
    while path and path[0] == 'super':
        path.pop(0)
        up += 1
    if up:
        return (*module[:len(module) - up], *path)
    # A module of its own, named without `self`.
    return (*module, *path) if (*module, path[0]) in modules else None
