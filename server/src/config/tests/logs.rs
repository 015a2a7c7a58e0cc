//! `<eventlog>` and its log files.

use std::path::PathBuf;

use super::{MAPPING, ZEO, config, handler, logfile};
use crate::eventlog::{
    EmailConfig, HttpConfig, HttpMethod, LogEncoding, LogTarget, Rotation, SyslogAddress,
    SyslogConfig, Unit, When,
};

#[test]
fn log_files_are_read() {
    let text = "<eventlog>\nlevel warn\n<logfile>\npath STDERR\nlevel error\n</logfile>\n\
                <logfile>\npath x.log\nformat %(name)s\n</logfile>\n</eventlog>";
    let log = config(&format!("{ZEO}{MAPPING}{text}"))
        .unwrap()
        .eventlog
        .unwrap();
    assert_eq!(log.level, 30);
    assert_eq!(
        (&log.handlers[0].target, log.handlers[0].level),
        (&LogTarget::Stderr, 40)
    );
    assert_eq!((log.handlers.len(), log.handlers[1].level), (2, 0));

    for (lines, expected) in [
        ("", None),
        ("max-size 1kb\nold-files 3", Some((When::Size(1024), 3))),
        ("when d\nold-files 2", Some((When::Every(Unit::Day, 1), 2))),
        (
            "when W6\ninterval 3\nold-files 1",
            Some((When::Every(Unit::Weekday(6), 3), 1)),
        ),
        // Negative numbers, as in Python: all old files are kept, or none, or the size is never
        // reached.
        ("when d\nold-files -1", Some((When::Every(Unit::Day, 1), 0))),
        ("max-size 1kb\nold-files -1\ninterval -3", None),
        (
            "max-size -1kb\nold-files 3",
            Some((When::Size(u64::MAX), 3)),
        ),
    ] {
        let logfile = logfile(&format!("path x.log\ndelay yes\n{lines}")).unwrap();
        let rotation = expected.map(|(when, old_files)| Rotation {
            when,
            old_files: (old_files > 0).then_some(old_files),
        });
        let expected = LogTarget::File {
            path: PathBuf::from("x.log"),
            delay: true,
            encoding: LogEncoding::Utf8,
            rotation,
        };
        assert_eq!(logfile.target, expected, "{lines}");
    }
    for lines in [
        "level info",
        "path STDERR\nmax-size 1\nold-files 1",
        "path STDOUT\ndelay true",
        "path STDOUT\nencoding utf-8",
        "path x.log\nmax-size 1kb",
        "path x.log\nold-files 3",
        "path x.log\ninterval 3",
        "path x.log\ninterval 3\nold-files 1",
        "path x.log\nwhen D\nmax-size 1\nold-files 1",
        "path x.log\nwhen W7\nold-files 1",
        "path x.log\nformat none",
        "path x.log\nstyle format",
        "path x.log\nstyle nope",
        "path x.log\nlevel loud",
        "path x.log\nformatter no.such",
        "path x.log\nencoding nosuch",
        "path x.log\nwhen D\nmax-size -1\nold-files 1",
        "path x.log\nold-files -1",
        "path STDERR\nold-files -1",
        "path /no/such/directory/x.log",
        "path x.log\nmode w",
        "path x.log\n<logfile/>",
    ] {
        assert!(logfile(lines).is_err(), "{lines}");
    }
}

#[test]
fn log_files_have_an_encoding() {
    for (lines, expected) in [
        ("", LogEncoding::Utf8),
        ("encoding", LogEncoding::Utf8),
        ("encoding latin-1", LogEncoding::Latin1),
    ] {
        let target = logfile(&format!("path x.log\n{lines}")).unwrap().target;
        assert!(
            matches!(target, LogTarget::File { encoding, .. } if encoding == expected),
            "{target:?}"
        );
    }
    let refused = logfile("path x.log\nencoding utf-16").unwrap_err();
    assert!(
        refused.starts_with("bad value for encoding: \"utf-16\""),
        "{refused}"
    );
}

#[test]
fn the_directory_of_a_log_file_must_be_there() {
    let missing = "path /no/such/directory/x.log";
    let refused = logfile(missing).unwrap_err();
    let expected = "bad value for path: the directory in the path \"/no/such/directory/x.log\" \
                    does not exist (line ";
    assert!(refused.starts_with(expected), "{refused}");
    // It may be made until the first line is written.
    assert!(logfile(&format!("{missing}\ndelay on")).is_ok());
    // This one is zdaemon's.
    let runner = format!(
        "<runner>\nprogram x\n<eventlog>\n<logfile>\n{missing}\n</logfile>\n\
                          </eventlog>\n</runner>\n"
    );
    assert!(config(&format!("{ZEO}{MAPPING}{runner}")).is_ok());
}

#[test]
fn syslog_is_read() {
    let syslog = |address, facility| LogTarget::Syslog(SyslogConfig { address, facility });
    let host = |host: &str, port| SyslogAddress::Host(host.to_owned(), port);
    for (lines, expected) in [
        ("", syslog(host("localhost", 514), 1)),
        (
            "address /dev/log\nfacility LOCAL0",
            syslog(SyslogAddress::Path("/dev/log".into()), 16),
        ),
        ("address LogHost:5514", syslog(host("loghost", 5514), 1)),
        (
            "address [::1]:514\nformat %(message)s",
            syslog(host("::1", 514), 1),
        ),
    ] {
        assert_eq!(
            handler("syslog", lines).unwrap().target,
            expected,
            "{lines}"
        );
    }
    for (lines, expected) in [
        (
            "address 5514",
            "bad value for address: \"5514\" is not the address of a syslog daemon; \
                          expected HOST:PORT or a path with a slash (line 8, in zeo.conf)",
        ),
        ("address loghost", "bad value for address"),
        ("address :514", "bad value for address"),
        (
            "facility local8",
            "bad value for facility: \"local8\" is not a syslog facility",
        ),
        ("level loud", "bad value for level"),
        ("style nope", "bad value for style"),
        ("style format", "<syslog>: the format"),
        ("format none", "bad value for format"),
        (
            "dateformat %Y\ndateformat %Y",
            "\"dateformat\" may be given only once",
        ),
        ("path x.log", "\"path\" is not a known key of <syslog>"),
        ("formatter no.such", "formatter no.such"),
        (
            "<logfile>\npath x\n</logfile>",
            "unknown section <logfile> in <syslog>",
        ),
    ] {
        let told = handler("syslog", lines).unwrap_err();
        assert!(told.starts_with(expected), "{lines}: {told}");
        assert!(
            told.contains("line ") && told.ends_with("zeo.conf)"),
            "{told}"
        );
    }
}

#[test]
fn http_loggers_are_read() {
    let http = |url: &str, method| {
        let url = url.to_owned();
        LogTarget::Http(HttpConfig { url, method })
    };
    for (lines, expected) in [
        ("", http("http://localhost/", HttpMethod::Get)),
        (
            "method post\nurl http://h:8/p?q=1",
            http("http://h:8/p?q=1", HttpMethod::Post),
        ),
    ] {
        assert_eq!(
            handler("http-logger", lines).unwrap().target,
            expected,
            "{lines}"
        );
    }
    for (lines, expected) in [
        (
            "url https://h/",
            "bad value for url: \"https://h/\" is not an http URL; expected a URL \
                            such as http://host:port/path (line 8, in zeo.conf)",
        ),
        (
            "method PUT",
            "bad value for method: \"PUT\" is not a method; expected GET or POST",
        ),
        (
            "format %(nope)s",
            "bad value for format: unknown field %(nope)s",
        ),
        ("style template", "<http-logger>: the format"),
        (
            "address h:1",
            "\"address\" is not a known key of <http-logger>",
        ),
    ] {
        let told = handler("http-logger", lines).unwrap_err();
        assert!(told.starts_with(expected), "{lines}: {told}");
    }
}

#[test]
fn email_notifiers_are_read() {
    let lines = "from Zope <zope@example.com>\nTO a@example.com\nto b@example.com, c@example.com\n";
    let more = "subject Trouble, at last\nsmtp-server mail\nsmtp-username u\nsmtp-password p\n";
    let LogTarget::Email(EmailConfig {
        from,
        to,
        subject,
        server,
        credentials,
        ..
    }) = handler("email-notifier", &format!("{lines}{more}"))
        .unwrap()
        .target
    else {
        panic!("no mail")
    };
    assert_eq!(from.to_string(), "Zope <zope@example.com>");
    let to: Vec<_> = to.iter().map(|to| to.email.to_string()).collect();
    assert_eq!(to, ["a@example.com", "b@example.com", "c@example.com"]);
    assert_eq!(subject, "Trouble, at last");
    assert_eq!(server, ("mail".to_owned(), 25));
    assert_eq!(credentials, Some(("u".to_owned(), "p".to_owned())));
    let LogTarget::Email(mail) = handler("email-notifier", lines).unwrap().target else {
        panic!("no mail")
    };
    assert_eq!(
        (mail.subject.as_str(), mail.server.0.as_str()),
        ("Message from Zope", "localhost")
    );
    assert_eq!(mail.credentials, None);
    for (wrong, expected) in [
        (
            "from a@b.c",
            "<email-notifier> needs a value for \"to\" (line 7, in zeo.conf)",
        ),
        ("to a@b.c", "<email-notifier> needs a value for \"from\""),
        (
            "to a@b.c\nfrom a@b.c, d@e.f",
            "bad value for from: \"a@b.c, d@e.f\" is more than one",
        ),
        (
            "to a@b.c\nto @\nfrom a@b.c",
            "bad value for to: \"@\" is not a mail address",
        ),
        (
            "to a@b.c\nfrom a@b.c\nsmtp-username u",
            "<email-notifier>: give smtp-username and",
        ),
        (
            "to a@b.c\nfrom a@b.c\nsmtp-password u",
            "<email-notifier>: give smtp-username and",
        ),
        (
            "to a@b.c\nfrom a@b.c\nsmtp-server 25",
            "bad value for smtp-server: \"25\" is not the",
        ),
        (
            "to a@b.c\nfrom a@b.c\nsmtp-server /x",
            "bad value for smtp-server",
        ),
        (
            "to a@b.c\nfrom a@b.c\nfrom a@b.c",
            "\"from\" may be given only once",
        ),
    ] {
        let told = handler("email-notifier", wrong).unwrap_err();
        assert!(told.starts_with(expected), "{wrong}: {told}");
    }
}

#[test]
fn the_event_log_of_windows_is_accepted() {
    let target = handler("win32-eventlog", "appname Zope\nlevel error")
        .unwrap()
        .target;
    assert_eq!(target, LogTarget::Windows);
    assert!(handler("win32-eventlog", "dllname x").is_err());
}
