#!/usr/bin/env bash
# A ZCTextIndex's numObjects() is the number of its words, and its indexSize() that of its documents.
#
# Expected: as with the other indexes of a catalog, and as Products.PluginIndexes.interfaces says:
# numObjects() is the number of indexed objects, indexSize() that of distinct values.
# Seen: two documents with seven different words give numObjects() 7 and indexSize() 2. A FieldIndex
# of the same documents gives 2 objects.
# Why it matters: who checks a catalog by comparing its documents with each index's numObjects(), or reads
# "# objects" on the catalog's page, finds a text index broken that is not.
# Versions: Products.ZCatalog 7.4 with Zope 6.3, Python 3.11.
#
# Output:
# FieldIndex: numObjects 2, indexSize 2
# ZCTextIndex: numObjects 7, indexSize 2
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Zope==6.3 Products.ZCatalog==7.4 BTrees==6.5
venv/bin/python -W ignore - <<'EOF'
from types import SimpleNamespace

from Products.PluginIndexes.FieldIndex.FieldIndex import FieldIndex
from Products.ZCTextIndex.Lexicon import CaseNormalizer, Splitter
from Products.ZCTextIndex.ZCTextIndex import PLexicon, ZCTextIndex

lexicon = PLexicon("lexicon", "", Splitter(), CaseNormalizer())
settings = SimpleNamespace(doc_attr="text", index_type="Okapi BM25 Rank", lexicon_id="lexicon")
indexes = [FieldIndex("text"), ZCTextIndex("text", settings, SimpleNamespace(lexicon=lexicon))]
seen = []
for index in indexes:
    for number, text in enumerate(["one two three four five", "one two six seven"]):
        index.index_object(number, SimpleNamespace(text=text))
    seen.append((index.numObjects(), index.indexSize()))
    print(f"{type(index).__name__}: numObjects {seen[-1][0]}, indexSize {seen[-1][1]}")
assert seen == [(2, 2), (7, 2)], seen
EOF
