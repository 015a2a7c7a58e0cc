"""Finds upstream's tests and gives each a label, `group/name`.

The group is the layer that upstream put the test in, or its module; the name
is that of the test method (with its class, unless the group says it) or of
the doctest. Labels are what skips.py and the reports speak of.
"""
import importlib
import unittest

MODULES = [
    'ZEO.tests.testZEO',
    'ZEO.tests.testConnection',
    'ZEO.tests.testConfig',
    'ZEO.tests.test_client_credentials',
    'ZEO.tests.test_client_side_conflict_resolution',
    'ZEO.tests.test_sync',
    'ZEO.tests.testssl',
    'ZEO.tests.testZEO2',
    'ZEO.tests.testZEOServer',
    'ZEO.tests.testZEOOptions',
    'ZEO.tests.test_cache',
    'ZEO.tests.test_marshal',
    'ZEO.tests.testTransactionBuffer',
    'ZEO.tests.testConversionSupport',
    'ZEO.asyncio.tests',
    'ZEO.scripts.tests',
]

# Classes that upstream's suite leaves out to save its own time.
LEFT_OUT = {
    'ZEO.tests.testZEO': [
        'FileStorageTests', 'DemoStorageTests',
        'FileStorageHexTests', 'FileStorageClientHexTests',
    ],
}


def find(module_name):
    """All tests of a module, as a list of (label, layer or None, test)."""
    module = importlib.import_module(module_name)
    loader = unittest.TestLoader()
    suite = unittest.TestSuite()
    if hasattr(module, 'test_suite'):
        suite.addTest(module.test_suite())
    else:
        suite.addTest(loader.loadTestsFromModule(module))
    for name in LEFT_OUT.get(module_name, ()):
        suite.addTest(_class_suite(getattr(module, name)))
    default_group = module_name.split('.', 1)[1].removeprefix('tests.')
    return [(_label(test, layer, default_group), layer, test)
            for layer, test in _flatten(suite, None)
            if 'no tests here' not in _layer_name(layer)]


def _class_suite(cls):
    import ZODB.tests.util
    suite = unittest.TestSuite()
    for prefix in 'check', 'test':  # up to ZODB 5, and since ZODB 6
        loader = unittest.TestLoader()
        loader.testMethodPrefix = prefix
        suite.addTest(loader.loadTestsFromTestCase(cls))
    suite.layer = ZODB.tests.util.MininalTestLayer(cls.__name__)
    return suite


def _flatten(suite, layer):
    layer = getattr(suite, 'layer', layer)
    if isinstance(suite, unittest.BaseTestSuite):
        for part in suite:
            yield from _flatten(part, layer)
    else:
        yield layer, suite


def _layer_name(layer):
    return getattr(layer, '__name__', '')


def _label(test, layer, default_group):
    group = _layer_name(layer).removesuffix(' ZEO Connection Tests')
    if group in ('', 'threaded_server_tests'):  # a layer that many modules share
        group = default_group
    parts = test.id().split('.')
    if type(test).__name__ in ('DocTestCase', 'DocFileCase'):
        return f'{group}/{parts[-1]}'
    return f'{group}/' + '.'.join(part for part in parts[-2:] if part != group)
