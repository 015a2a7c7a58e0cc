"""Configuration texts for the server under test."""


def zeo(address='127.0.0.1:0', ssl='', **options):
    """A <zeo> section; `transaction_timeout=3` becomes `transaction-timeout 3`. `ssl` is the text
    of an <ssl> section, if there is one."""
    lines = ''.join(f'  {name.replace("_", "-")} {_text(value)}\n'
                    for name, value in options.items() if value is not None)
    return f'<zeo>\n  address {address}\n{lines}{ssl or ""}</zeo>\n'


def filestorage(path='Data.fs', name='', **options):
    """A <filestorage> section."""
    lines = ''.join(f'  {key.replace("_", "-")} {_text(value)}\n'
                    for key, value in options.items() if value is not None)
    return f'<filestorage {name}>\n  path {path}\n{lines}</filestorage>\n'


def mappingstorage(name=''):
    """A <mappingstorage> section."""
    return f'<mappingstorage {name}>\n</mappingstorage>\n'


def eventlog(path='server.log', level='INFO'):
    """An <eventlog> section with one log file."""
    return (f'<eventlog>\n  level {level}\n  <logfile>\n    path {path}\n'
            f'  </logfile>\n</eventlog>\n')


def _text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def zlibstorage(base, kind='zlibstorage', name='', **options):
    """A <zlibstorage>, or of another kind, around the section `base`."""
    lines = ''.join(f'  {key.replace("_", "-")} {_text(value)}\n'
                    for key, value in options.items() if value is not None)
    return f'%import zc.zlibstorage\n<{kind} {name}>\n{lines}{base}</{kind}>\n'


def demostorage(base='', changes='', name='', **options):
    """A <demostorage> of these sections; that of the changes must be named `changes`."""
    lines = ''.join(f'  {key.replace("_", "-")} {_text(value)}\n'
                    for key, value in options.items() if value is not None)
    return f'<demostorage {name}>\n{lines}{base}{changes}</demostorage>\n'


def blobstorage(base, name='', **options):
    """A <blobstorage> around the section `base`."""
    lines = ''.join(f'  {key.replace("_", "-")} {_text(value)}\n'
                    for key, value in options.items() if value is not None)
    return f'<blobstorage {name}>\n{lines}{base}</blobstorage>\n'
