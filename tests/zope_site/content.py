"""What the site consists of: a folder of documents with a catalog, changed by requests."""
from AccessControl import ClassSecurityInfo
from AccessControl.class_init import InitializeClass
from DateTime import DateTime
from OFS.SimpleItem import SimpleItem
from Products.BTreeFolder2.BTreeFolder2 import BTreeFolder2
from Products.ZCatalog.ZCatalog import ZCatalog
from Products.ZCTextIndex.Lexicon import CaseNormalizer, Splitter
from Products.ZCTextIndex.OkapiIndex import OkapiIndex
from Products.ZCTextIndex.ZCTextIndex import PLexicon, ZCTextIndex
from ZPublisher import zpublish

INDEXES = {'author': 'FieldIndex', 'subjects': 'KeywordIndex', 'modified': 'DateIndex',
           'visible': 'BooleanIndex', 'uid': 'UUIDIndex', 'path': 'PathIndex'}
METADATA = 'id', 'title', 'version'


class Document(SimpleItem):
    """A document; `version` counts its changes."""

    def __init__(self, id):
        self.id = self.uid = id
        self.version = 0

    def change(self, title, author, subjects, text, modified):
        self.title, self.author, self.text = title, author, text
        self.subjects = tuple(subjects.split())
        self.modified = DateTime(int(modified))
        self.visible = int(modified) % 3 > 0
        self.version += 1


InitializeClass(Document)


class Site(BTreeFolder2):
    """The folder. Its methods are what clients ask for."""

    security = ClassSecurityInfo()

    def location(self, id):
        return '/'.join(self.getPhysicalPath() + (id,))

    @security.public
    @zpublish
    def create(self, id, title, author, subjects, text, modified):
        """Makes a document, unless the same request has made it already and did not hear of it."""
        if self.has_key(id):
            return 'exists'
        self._setObject(id, Document(id))
        document = self._getOb(id)
        document.change(title, author, subjects, text, modified)
        self.catalog.catalog_object(document, self.location(id))
        return 'created'

    @security.public
    @zpublish
    def edit(self, id, title, author, subjects, text, modified):
        """Changes a document and its entry in the catalog."""
        document = self._getOb(id)
        document.change(title, author, subjects, text, modified)
        self.catalog.catalog_object(document, self.location(id))
        return 'changed'

    @security.public
    @zpublish
    def reindex(self, id):
        """Takes a document out of the catalog and into it again, as when it is moved."""
        self.catalog.uncatalog_object(self.location(id))
        self.catalog.catalog_object(self._getOb(id), self.location(id))
        return 'reindexed'

    @security.public
    @zpublish
    def search(self, text):
        """How many documents have a word."""
        return str(len(self.catalog(text=text)))


InitializeClass(Site)


class IndexOf:
    """What an index is of."""

    index_type, lexicon_id, doc_attr = 'Okapi BM25 Rank', 'lexicon', 'text'


def install(app):
    """Makes the site, without documents."""
    app._setObject('site', Site('site'))
    app.site.catalog = ZCatalog('catalog')
    catalog = app.site.catalog
    catalog._setObject('lexicon', PLexicon('lexicon', '', Splitter(), CaseNormalizer()))
    for name, kind in INDEXES.items():
        catalog.addIndex(name, kind)
    text = ZCTextIndex('text', IndexOf, catalog, OkapiIndex)
    catalog.addIndex('text', text)
    for name in METADATA:
        catalog.addColumn(name)
