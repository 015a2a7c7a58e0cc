"""The upstream tests that are not run, and why. Every other one is.

Each entry is (pattern, reason); the pattern is matched with fnmatch against
the labels of catalog.py. ZODB 5 calls its test methods `check...` and ZODB 6
`test...`, hence the `*` before many names. An entry that matches no test is
an error, so that this list stays true.
"""

_IN_PROCESS = 'calls the objects of Python\'s server inside the test\'s own process'
_CLIENT_ONLY = 'tests code of the Python client alone; starts no server'
_PYTHON_RUNZEO = 'tests the Python implementation of the runzeo script'
_PYTHON_STORAGE = 'its server loads a storage class written in Python, by %import'
_APPLICATION_CLASS = ('the server resolves a conflict by importing the application\'s Python '
                      'class; without that class every server answers with a ConflictError')

# Those that run ZODB's storage tests on a file, or the database in its place.
_GROUPS = ('FileStorageTests', 'BlobAdaptedFileStorageTests', 'BlobWritableCacheTests',
           'FileStorageSSLTests')

NOT_APPLICABLE = [
    ('testZeo-misc/getInvalidationsAfterServerRestart', _IN_PROCESS),
    ('testZeo-misc/multiple_storages_invalidation_queue_is_not_insane', _IN_PROCESS),
    ('testZeo-misc/runzeo_without_configfile',
     'runs the Python script with its switch --test and compares the exact log'),
    ('testZeo-misc/invalidate_client_cache_entry_on_server_commit_error',
     'gives a cache a tid that the storage never had, and expects that it is used all the same'),
    ('testZeo-misc2/protocols_test', 'makes Python\'s server speak an old protocol'),
    ('testZeo-misc2/zdoptions_test', _PYTHON_RUNZEO),
    ('testZEO/dynamic_server_ports_test',
     'listens to the events that Python\'s server publishes in its own process'),
    ('test_client_credentials/*', 'replaces a method of Python\'s server'),
    ('test_sync/*', 'replaces a method of Python\'s server'),
    ('test_client_side_conflict_resolution/*.test_server_side', _IN_PROCESS),
    ('testZEO2/*', _IN_PROCESS),
    ('testZEOServer/*', _PYTHON_RUNZEO),
    ('testZEOOptions/*', _PYTHON_RUNZEO),
    ('testConversionSupport/*', _IN_PROCESS),
    ('test_marshal/*', _IN_PROCESS),
    ('testssl/SSLConfigTestMockiavellian.*', 'inspects mock objects in Python\'s server'),
    ('testZEO/Test_convenience_functions.*', _CLIENT_ONLY),
    ('test_cache/*', _CLIENT_ONLY),
    ('testTransactionBuffer/*', _CLIENT_ONLY),
    ('asyncio.tests/*', _CLIENT_ONLY),
    ('scripts.tests/zeopack_test', _CLIENT_ONLY),
    ('FileStorageHexTests/*', _PYTHON_STORAGE),
    ('FileStorageClientHexTests/*', _PYTHON_STORAGE),
    ('FileStorageLoadDelayedTests/*', _PYTHON_STORAGE),
    *((f'{group}/{test}', _APPLICATION_CLASS)
      for group in _GROUPS
      for test in ('*Resolve', '*UndoConflictResolution', '*UndoMultipleConflictResolution*')),
]

ON_POSTGRES = [
    *((f'{group}/*TransactionalUndoIterator',
       'the tables do not tell whose data an undone record has, as back-pointers do')
      for group in _GROUPS),
    ('BlobWritableCacheTests/check*Blob*', 'a database has no directory of blobs that clients could share'),
    ('testZeo-misc2/IExternalGC_test', 'counts the objects; PostgreSQL estimates how many there are'),
    ('testZeo-misc/client_has_newer_data_than_server', 'puts an older file in the place of the server\'s'),
]

_UNDOES = ('undoes a transaction, which a database without history can\'t, or counts those that can '
           'be undone')
# Beside those of ON_POSTGRES; RelStorage's own tests leave out or change the same ones.
HISTORY_FREE = [
    *((f'{group}/*{test}', _UNDOES)
      for group in _GROUPS
      for test in ('CreationUndoneGetTid', 'IndicesInUndoInfo', 'IndicesInUndoLog', 'LoadBeforeUndo',
                   'NotUndoable', 'PackAfterUndoDeletion', 'PackAfterUndoManyTimes', 'PackUndoLog',
                   'PackUnlinkedFromRoot', 'SimpleTransactionalUndo', 'TransactionalUndoAfterPack',
                   'TransactionalUndoAfterPackWithObjectUnlinkFromRoot', 'TwoObjectUndo',
                   'TwoObjectUndoAgain', 'TwoObjectUndoAtOnce', 'UndoCreationBranch[12]',
                   'UndoInvalidation', 'UndoLogMetadata', 'UndoUnresolvable', 'UndoZombie')),
    ('FileStorage*Tests/checkInterfaceFromRemoteStorage', 'expects a storage that can undo'),
    *((f'{group}/*SimpleIteration', 'iterates over revisions that others have replaced')
      for group in _GROUPS),
    *((f'{group}/*TransactionExtensionFromIterator',
       'a database without history does not keep what was said of a transaction')
      for group in _GROUPS),
]

LATER = [
]
