"""Whether a database holds what the clients know, and trees and catalog are whole."""
import BTrees.check
import ZODB
from ZODB.FileStorage import FileStorage

from .content import INDEXES, METADATA
from .load import AUTHORS, SUBJECTS, WORDS

TREES = tuple(getattr(__import__(f'BTrees.{family}BTree', fromlist=['x']), f'{family}{kind}')
              for family in ('OO', 'OI', 'IO', 'II', 'LO', 'OL', 'LL', 'IF')
              for kind in (['BTree', 'TreeSet']))


def check(path, known):
    """Checks the file of a server that is stopped; fails if anything is wrong. Returns how many
    documents and trees there are."""
    storage = FileStorage(path, read_only=True)
    db = ZODB.DB(storage)
    with db.transaction() as connection:
        site = connection.root()['Application'].site
        documents = dict(site._tree.items())
        check_documents(documents, known)
        trees = check_trees(storage, connection)
        assert site._count() == len(documents)
        check_catalog(site, documents)
    db.close()
    return len(documents), trees


def check_documents(documents, known):
    for id, sure in known.sure.items():
        found = documents[id].version if id in documents else 0
        # A document is made once; other requests count each time.
        assert sure <= found <= sure + known.perhaps[id], \
            f'{id} was changed {found} times, of which {sure} were acknowledged'
    assert set(documents) <= set(known.sure), 'there are documents that nobody has asked for'


def check_trees(storage, connection):
    count = 0
    for oid in storage._index.keys():
        thing = connection.get(oid)
        if isinstance(thing, TREES):
            thing._check()
            BTrees.check.check(thing)
            count += 1
    return count


def check_catalog(site, documents):
    zcatalog, catalog = site.catalog, site.catalog._catalog
    prefix = '/site/'
    rids = {path.removeprefix(prefix): rid for path, rid in catalog.uids.items()}
    assert set(rids) == set(documents), 'the catalog has other documents'
    assert {rid: prefix + id for id, rid in rids.items()} == dict(catalog.paths.items())
    assert set(catalog.data) == set(catalog.paths)
    assert len(catalog) == len(documents)
    for id, document in documents.items():
        entry = zcatalog.getMetadataForRID(rids[id])
        assert all(entry[name] == getattr(document, name) for name in METADATA), id
    for name in INDEXES:
        # A document without subjects is not in their index.
        count = sum(name != 'subjects' or bool(d.subjects) for d in documents.values())
        found = catalog.indexes[name].numObjects()
        assert found == count, f'{name}: {found} documents, and not {count}'
    check_text(catalog.indexes['text'].index, documents)

    def expect(wanted, **query):
        found = sorted(brain.getPath() for brain in zcatalog(**query))
        assert found == sorted(prefix + id for id, d in documents.items() if wanted(d)), query
    for author in AUTHORS:
        expect(lambda d: d.author == author, author=author)
    for subject in SUBJECTS:
        expect(lambda d: subject in d.subjects, subjects=subject)
    for word in WORDS:
        expect(lambda d: word in d.text.split(), text=word)
    for visible in True, False:
        expect(lambda d: bool(d.visible) == visible, visible=visible)
    for document in documents.values():
        expect(lambda d: d is document, uid=document.uid)
        expect(lambda d: minute(d) == minute(document), modified=document.modified)


def minute(document):
    """What the index keeps of the time."""
    return int(document.modified) // 60


def check_text(index, documents):
    """The counters of the text's index, which many transactions change at the same time."""
    words = {word for d in documents.values() for word in d.text.split()}
    assert index.document_count() == len(index._docweight) == len(documents)
    assert index.length() == len(index._wordinfo) == len(words)
    assert index._totaldoclen() == sum(len(d.text.split()) for d in documents.values())
