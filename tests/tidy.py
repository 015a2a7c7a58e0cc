#!/usr/bin/env python3
"""Checks what no compiler does: that the tree stays as README.md and the crates' texts tell it.

- Every Rust file belongs to a crate: some `mod` names it.
- Crates depend on each other one way: proto, storage, client, server; what tests them comes last.
- The walls between modules stand, and no files import each other in a circle: tests/walls.py.
- A folder's module stands in its `mod.rs`, and no function has more than 85 lines.
- No file has more than 500 lines, and none that people read has tabs or blanks at the end of a line.
- No message in a Rust file has a gap, as where a line was joined to the next one.
- What README.md and the other texts name in this repository is there.
"""
import json
import pathlib
import re
import subprocess
import sys

import walls

ROOT = pathlib.Path(__file__).resolve().parent.parent
ORDER = ['zeo-proto', 'zeo-storage', 'zeo-client', 'zeo-server', 'zeo-load', 'zeo-fuzz']
FOLDERS = ['proto', 'storage', 'client', 'server', 'tests', 'scripts', 'docs', 'etc', '.ci']
LONGEST = 500
LONGEST_FUNCTION = 85
FUNCTION = re.compile(r'^( *)(?:pub(?:\([^)]*\))? )?(?:const )?(?:unsafe )?fn (\w+)')
GAP = re.compile(r'[^\\][a-z:,;)}] {4,}[a-z]')
NAMED = re.compile(r'`((?:proto|storage|client|server|tests|scripts|etc|\.ci)/[\w./-]*[\w/])`')


def main():
    files = {path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob('*')
             if path.is_file() and '__pycache__' not in path.parts}
    files = sorted(files | {path.relative_to(ROOT) for path in ROOT.glob('*.*') if path.is_file()})
    problems = [*dead_files(files), *wrong_dependencies(), *wrong_lines(files), *wrong_names(files),
                *module_styles(files), *long_functions(files), *walls.problems(ROOT)]
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


def dead_files(files):
    """Rust files that no module names, so that nobody compiles them."""
    for file in files:
        is_target = file.parent.name == 'bin' or (
            file.parent.name in ('tests', 'examples') and file.parent.parent / 'Cargo.toml' in files)
        if file.suffix != '.rs' or is_target or file.name in ('lib.rs', 'main.rs'):
            continue
        module, folder = (file.parent.name, file.parent.parent) if file.name == 'mod.rs' \
            else (file.stem, file.parent)
        parents = [folder / name for name in ('mod.rs', 'lib.rs', 'main.rs')]
        parents.append(folder.with_suffix('.rs'))
        named = re.compile(rf'^\s*(pub(\([a-z]+\))? )?mod {module};', re.MULTILINE)
        if not any(p in files and named.search((ROOT / p).read_text()) for p in parents):
            yield f'{file}: no `mod {module};` beside it'


def wrong_dependencies():
    """Crates that depend on a later one."""
    done = subprocess.run(['cargo', 'metadata', '--no-deps', '--format-version=1', '--offline'],
                          cwd=ROOT, stdout=subprocess.PIPE, check=True)
    packages = {package['name']: package for package in json.loads(done.stdout)['packages']}
    if sorted(packages) != sorted(ORDER):
        yield f'Cargo.toml: the crates are {sorted(packages)}, not those that this test knows'
    for name, package in packages.items():
        # What only its tests use may come later: a client is tried with a server.
        used_by_all = {dependency['name'] for dependency in package['dependencies']
                       if dependency['kind'] != 'dev'}
        for used in used_by_all & set(ORDER):
            if name in ORDER and ORDER.index(used) >= ORDER.index(name):
                yield f'{name} depends on {used}'


def wrong_lines(files):
    for file in files:
        if file.suffix not in ('.rs', '.py', '.md', '.c') and file.parts[0] not in ('scripts', 'etc'):
            continue
        lines = (ROOT / file).read_text().splitlines()
        if len(lines) > LONGEST:
            yield f'{file}: {len(lines)} lines'
        for number, line in enumerate(lines, 1):
            # Make wants its commands behind a tab.
            indented = line.lstrip('\t') if file.name == 'rules' else line
            if '\t' in indented or line != line.rstrip():
                yield f'{file}:{number}: a tab, or blanks at the end'
            if file.suffix == '.rs' and GAP.search(line) and not line.lstrip().startswith('//'):
                yield f'{file}:{number}: a gap in a text'


def module_styles(files):
    """Modules of a folder that stand beside it."""
    for file in files:
        if file.suffix == '.rs' and any(other.suffix == '.rs' and other.parent == file.with_suffix('')
                                        for other in files):
            yield f'{file}: move it to {file.with_suffix("")}/mod.rs'


def long_functions(files):
    """Functions that don't fit on a screen, by their indentation (cargo fmt sees to that)."""
    for file in files:
        if file.suffix != '.rs' or {'tests', 'tests.rs'} & set(file.parts):
            continue
        begin = None
        for number, line in enumerate((ROOT / file).read_text().splitlines(), 1):
            found = FUNCTION.match(line)
            if found and begin is None and not line.endswith(';'):
                begin, indent, name = number, found[1], found[2]
            elif begin is not None and line == indent + '}':
                if number - begin >= LONGEST_FUNCTION:
                    yield f'{file}:{begin}: `{name}` has {number - begin + 1} lines'
                begin = None
            elif begin is not None and line.startswith(indent) and line.endswith(';') \
                    and not line.startswith(indent + ' '):
                begin = None  # without a body


def wrong_names(files):
    for file in files:
        if file.suffix == '.md':
            for name in NAMED.findall((ROOT / file).read_text()):
                if not any((ROOT / folder / name).exists() for folder in ('', file.parent)):
                    yield f'{file}: there is no {name}'


if __name__ == '__main__':
    main()
