//! The lines were compared with those of Python's `logging` and ZConfig's formatters.

use super::*;

fn record() -> LogRecord {
    LogRecord {
        level: slog::Level::Warning,
        name: "ZEO.runzeo".to_owned(),
        text: "it's \"a\" message".to_owned(),
        client: None,
        pairs: Vec::new(),
        time: "2026-02-03T04:05:06.0785Z".parse().unwrap(),
        thread: 4321,
        thread_name: "MainThread".to_owned(),
        path: "dir/main.rs",
        line: 77,
        module: "zeo",
        function: "go",
    }
}

fn line(style: Style, format: &str) -> Result<String, String> {
    let template = Template::parse(style, format, false)?;
    let start = "2026-02-03T04:05:05Z".parse().unwrap();
    Ok(template.format(&record(), &DateFormat::new("%Y"), start))
}

fn check(style: Style, cases: &[(&str, &str)]) {
    for (format, expected) in cases {
        assert_eq!(line(style, format).as_deref(), Ok(*expected), "{format}");
    }
}

fn check_refused(style: Style, formats: &[&str]) {
    for format in formats {
        assert!(line(style, format).is_err(), "{format}");
    }
}

#[test]
fn classic_formats() {
    check(
        Style::Classic,
        &[
            ("", "it's \"a\" message"),
            (
                r"---\n%(message)s\t%(levelno)d",
                "---\nit's \"a\" message\t30",
            ),
            (
                "%(asctime)s %(levelname)s %(name)s",
                "2026 WARNING ZEO.runzeo",
            ),
            (
                "%(levelname)-10s|%(levelname)10s|%(levelname).3s",
                "WARNING   |   WARNING|WAR",
            ),
            (
                "%(args)s|%(args)r|%(msg)s|%(exc_info)s|%(exc_text)6s|%(stack_info)r|%(taskName).2s",
                "()|()|it's \"a\" message|None|  None|None|No",
            ),
            (
                "%(thread)d %(threadName)s %(processName)s",
                "4321 MainThread MainProcess",
            ),
            (
                "%(pathname)s %(filename)s %(module)s",
                "dir/main.rs main.rs zeo",
            ),
            ("%(lineno)d %(lineno)s %(funcName)s", "77 77 go"),
            ("%(msecs)03d %(msecs)s %(relativeCreated)d", "078 78.0 1078"),
            ("%(created).2f %(lineno)f", "1770091506.08 77.000000"),
            (
                "%(lineno)x %(lineno)X %(lineno)o %(lineno)#x",
                "4d 4D 115 0x4d",
            ),
            ("%(lineno)5x|%(lineno).4d|%(lineno)+5d", "   4d|0077|  +77"),
            ("%(lineno)-+5d|%(lineno) d|%(lineno)05d", "+77  | 77|00077"),
            ("100%% %(message)s", "100% it's \"a\" message"),
            (
                "%(name)r %(message)r %(message)5.2s",
                "'ZEO.runzeo' 'it\\'s \"a\" message'    it",
            ),
        ],
    );
    let refused = [
        "%(nope)s",
        "%(message)d",
        "%(message)",
        "%(message",
        "%",
        "%s",
        "none",
        "%%",
        "%(message)q",
        "%(message)ls",
        "x %(message)s %",
        "%(message)9999999999s",
        "%(lineno).1001d",
    ];
    check_refused(Style::Classic, &refused);
}

#[test]
fn brace_formats() {
    check(
        Style::Format,
        &[
            ("", "it's \"a\" message"),
            (
                "{levelname:8}|{name:>12}|{name:^12}|",
                "WARNING |  ZEO.runzeo| ZEO.runzeo |",
            ),
            (
                "{lineno:5d}|{lineno:<5}|{lineno:^5}|{lineno:05}",
                "   77|77   | 77  |00077",
            ),
            (
                "{lineno:+}|{lineno:x}|{lineno:#x}|{lineno:*>6}",
                "+77|4d|0x4d|****77",
            ),
            ("{{x}} {lineno!s:5}|{lineno:=+6}", "{x} 77   |+   77"),
            (
                "{msecs:03.0f} {created:.3f} {name:.3}",
                "078 1770091506.079 ZEO",
            ),
            ("{name!r}", "'ZEO.runzeo'"),
        ],
    );
    let refused = [
        "{}",
        "{0}",
        "{nope}",
        "{message:d}",
        "{message",
        "message}",
        "{message.x}",
        "{message!z}",
        "none",
        "{lineno:99999d}",
        "{lineno:dd}",
    ];
    check_refused(Style::Format, &refused);
}

#[test]
fn dollar_formats() {
    for style in [Style::Template, Style::SafeTemplate] {
        check(
            style,
            &[
                (
                    "${name}$$ $levelname: $lineno $msecs",
                    "ZEO.runzeo$ WARNING: 77 78.0",
                ),
                ("$name$name", "ZEO.runzeoZEO.runzeo"),
            ],
        );
    }
    check(
        Style::SafeTemplate,
        &[
            ("$nope ${nope} $1 $", "$nope ${nope} $1 $"),
            ("none", "none"),
        ],
    );
    check_refused(
        Style::Template,
        &["$nope", "$1 $name", "${name", "none", "$name $"],
    );
}

#[test]
fn unknown_fields_may_be_let_through() {
    let template = Template::parse(Style::Classic, "%(x)5s %(name)s", true).unwrap();
    let start = Timestamp::UNIX_EPOCH;
    let line = template.format(&record(), &DateFormat::default(), start);
    assert_eq!(line, "%(x)5s ZEO.runzeo");
}

#[test]
fn json_has_one_line_whatever_the_message_holds() {
    let values = slog::o!("storage" => "1", "logger" => "ZEO.StorageServer", "client" => "b:1");
    let arguments = format_args!("a\n\"b\"\r{}", "\u{2028}");
    let kept = LogRecord::new(
        &slog::record!(
            slog::Level::Error,
            "",
            &arguments,
            slog::b!("storage" => "2", "session" => 7_u64, "share" => 0.5, "held" => true)
        ),
        &values.into(),
    );
    let kept = LogRecord {
        time: record().time,
        ..kept
    };
    let json = Template::json();
    let line = json.format(&kept, &DateFormat::default(), Timestamp::UNIX_EPOCH);
    let pid = std::process::id();
    let expected = format!(
        r#"{{"time":"2026-02-03T04:05:06.078Z","level":"ERROR","logger":"ZEO.StorageServer",\
           "message":"a\\n\"b\"\\r\\u{{2028}}","pid":{pid},"client":"b:1","held":true,"share":0.5,\
           "session":7,"storage":"2"}}"#
    );
    assert_eq!(line, expected.replace("\\\n           ", ""));
    assert_eq!(
        kept.message(),
        "(b:1) a\\n\"b\"\\r\\u{2028} held=true share=0.5 session=7 storage=2 storage=1"
    );
}

proptest::proptest! {
    #[test]
    fn no_format_panics(format in "[%({$})namesgdxf.0-9+#<=^!:é -]{0,20}") {
        for style in [Style::Classic, Style::Format, Style::Template, Style::SafeTemplate] {
            let _ = line(style, &format);
        }
    }
}
