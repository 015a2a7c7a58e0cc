use super::*;
use proptest::prelude::*;

fn env(name: &str) -> Option<String> {
    (name == "VAR").then(|| "var".to_owned())
}

fn parse(text: &str) -> Result<Section, ConfigError> {
    Parser::new(&env).parse(text, Path::new("zeo.conf"))
}

/// The tree in one line: `type name{key=value@line ...}@line`.
fn shown(section: &Section) -> String {
    let entries = section.entries.iter();
    let entries = entries.map(|e| format!("{}={}@{}", e.key, e.value, e.place.line));
    let parts: Vec<String> = entries.chain(section.sections.iter().map(shown)).collect();
    let name = section.name.iter().map(|n| format!(" {n}"));
    let name: String = name.collect();
    let line = section.place.line;
    format!("{}{name}{{{}}}@{line}", section.kind, parts.join(" "))
}

#[test]
fn syntax_becomes_a_tree() {
    for (text, expected) in [
        ("", "{}@1"),
        ("# comment\n\n  # and another\n", "{}@1"),
        ("key value", "{key=value@1}@1"),
        ("  Key \t two  words  \r\n", "{Key=two  words@1}@1"),
        ("key", "{key=@1}@1"),
        ("key # no comment", "{key=# no comment@1}@1"),
        ("key(x", "{key=(x@1}@1"),
        ("key \\\nnext", "{key=\\@1 next=@2}@1"),
        ("<A>\nx 1\n</a>", "{a{x=1@2}@1}@1"),
        ("<a Name>\n</A >", "{a name{}@1}@1"),
        ("<a/>\n<a b/>\n<a b / >\n</a>", ""),
        ("<a/>\n<a b/>\n<c  d />", "{a{}@1 a b{}@2 c d{}@3}@1"),
        ("<a>\n<b>\n</b>\nx 1\n</a>", "{a{x=1@4 b{}@2}@1}@1"),
        ("%define X 1\nk $x${X}$$", "{k=11$@2}@1"),
        ("%define x\nk [$x]", "{k=[]@2}@1"),
        ("%define x a\n%define y $x-b\nk $y", "{k=a-b@3}@1"),
        ("%define x a\n%define X a", "{}@1"),
        ("k $(VAR)/x", "{k=var/x@1}@1"),
        ("%import ZODB\n%import  ZConfig.components.logger", "{}@1"),
        ("\u{a0}k\u{2003}v", "{k=v@1}@1"),
    ] {
        if !expected.is_empty() {
            let tree = parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
            assert_eq!(shown(&tree), expected, "{text:?}");
        } else {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}

#[test]
fn broken_syntax_is_refused_by_line() {
    for (text, line, problem) in [
        ("\n(key value", 2, "malformed configuration data"),
        ("<a", 1, "malformed section start"),
        ("<", 1, "malformed section start"),
        ("<>", 1, "malformed section header"),
        ("< a>", 1, "malformed section header"),
        ("<a b c>", 1, "malformed section header"),
        ("<a (b)>", 1, "malformed section header"),
        ("</a", 1, "malformed section end"),
        ("\n</a>", 2, "unexpected section end"),
        (
            "<a>\n</b>",
            2,
            "unbalanced section end </b>; expected </a>, opened at line 1",
        ),
        ("\n<a>\nx 1", 2, "unclosed section <a>"),
        ("%", 1, "missing or unrecognized directive"),
        ("% define x", 1, "missing or unrecognized directive"),
        ("%Define x", 1, "unknown directive %Define"),
        ("%define", 1, "missing argument to %define"),
        ("%define 1x 2", 1, "not a substitution legal name"),
        ("%define x 1\n%define x 2", 2, "cannot redefine \"x\""),
        (
            "%define y 1\n%define x $y\n%define x $y",
            3,
            "cannot redefine \"x\"",
        ),
        ("k $x", 1, "no replacement for \"x\""),
        ("k $(HOME)", 1, "no replacement for \"HOME\""),
        ("%import neoppod", 1, "cannot import \"neoppod\""),
        (
            "%include http://example.com/x",
            1,
            "\"http://example.com/x\" is not a file",
        ),
        (
            "%include no/such/file",
            1,
            "error opening included file no/such/file",
        ),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.starts_with(problem), "{text:?}: {error}");
        let place = format!(" (line {line}, in zeo.conf)");
        assert!(error.ends_with(&place), "{text:?}: {error}");
    }
}

#[test]
fn files_include_files() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    };
    write("sub/keys.conf", "%define two 2\ny 1\n%include more.conf\n");
    write("sub/more.conf", "<b/>\nz $one\n");
    let main = write(
        "main.conf",
        "%define one 1\n<a>\nx 0\n%include sub/keys.conf\nw $two\n</a>\n",
    );
    let tree = load(&main, &env).unwrap();
    let expected = "{a{x=0@3 y=1@2 z=1@2 w=2@5 b{}@1}@2}@1";
    assert_eq!(shown(&tree), expected);
    let inner = &tree.sections[0].entries[2].place.file;
    assert!(inner.ends_with("sub/more.conf"), "{inner:?}");

    write("sub/more.conf", "\n%include ../main.conf\n");
    let error = load(&main, &env).unwrap_err().to_string();
    assert!(error.contains("includes itself (line 2"), "{error}");

    write("sub/more.conf", "</a>\n");
    let error = load(&main, &env).unwrap_err().to_string();
    assert!(error.contains("unexpected section end (line 1"), "{error}");

    write("sub/more.conf", "k \u{fffd}\n");
    fs::write(directory.path().join("sub/more.conf"), b"k \xff\n").unwrap();
    let error = load(&main, &env).unwrap_err().to_string();
    assert!(error.contains("UTF-8"), "{error}");
}

#[test]
fn what_can_grow_without_end_is_refused() {
    let deep = "<a>\n".repeat(MAX_SECTION_DEPTH + 1);
    let error = parse(&deep).unwrap_err().to_string();
    assert!(error.contains("too deep"), "{error}");

    let mut doubling = "%define a0 xxxxxxxxxxxxxxxx\n".to_owned();
    for i in 1..60 {
        doubling += &format!("%define a{i} $a{}$a{}\n", i - 1, i - 1);
    }
    let error = parse(&doubling).unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let error = load(Path::new("/no/such/zeo.conf"), &env).unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with("error opening file /no/such/zeo.conf: "),
        "{error}"
    );
}

proptest! {
    /// Text of the pieces that mean something, and any others, never panics the reader.
    #[test]
    fn no_text_panics(text in proptest::collection::vec(
        prop_oneof![
            Just("<".to_owned()), Just("</".to_owned()), Just(">".to_owned()),
            Just("/>".to_owned()), Just("\n".to_owned()), Just("a".to_owned()),
            Just(" ".to_owned()), Just("%define ".to_owned()), Just("$".to_owned()),
            Just("${".to_owned()), Just("$(".to_owned()), Just("}".to_owned()),
            Just("%include ".to_owned()), Just("%import ".to_owned()), ".{0,4}",
        ], 0..60).prop_map(|pieces| pieces.concat())
    ) {
        let _ = parse(&text);
    }
}
