//! `<ssl>`.

use super::*;
use crate::net::tls::{Authorities, SslConfig};

fn ssl(lines: &str) -> Result<SslConfig, String> {
    let zeo = zeo(&format!("<ssl>\n{lines}\n</ssl>"))?;
    Ok(zeo.ssl.unwrap())
}

#[test]
fn the_keys_are_python_s() {
    assert_eq!(zeo("").unwrap().ssl, None);
    let least = ssl("certificate /own.pem\nauthenticate /clients.pem").unwrap();
    assert_eq!(least.certificate, PathBuf::from("/own.pem"));
    assert_eq!(least.key, None);
    let file = PathBuf::from("/clients.pem");
    assert_eq!(least.authenticate, Authorities::File(file));
    assert_eq!(least.place.unwrap().line, 3);

    let home = std::env::home_dir().unwrap();
    let all = "certificate ~/a\nkey ~/b\npassword-function\nauthenticate ~/c";
    let all = ssl(all).unwrap();
    assert_eq!(all.certificate, home.join("a"));
    assert_eq!(all.key, Some(home.join("b")));
    // This one is not expanded.
    assert_eq!(all.authenticate, Authorities::File("~/c".into()));
}

#[test]
fn who_may_come_in() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    for (text, expected) in [
        (path.to_str().unwrap(), Authorities::Directory(path.clone())),
        ("DYNAMIC", Authorities::System),
        ("dynamic", Authorities::File("dynamic".into())),
        ("./SIGNED", Authorities::File("./SIGNED".into())),
    ] {
        let ssl = ssl(&format!("certificate /x\nauthenticate {text}")).unwrap();
        assert_eq!(ssl.authenticate, expected);
    }
}

#[test]
fn mistakes_are_told_with_their_lines() {
    for (lines, expected) in [
        (
            "authenticate x",
            "<ssl> needs a value for \"certificate\" (line 3, in zeo.conf)",
        ),
        (
            "certificate x",
            "<ssl> needs a value for \"authenticate\" (line 3, in zeo.conf)",
        ),
        (
            "certificate\nauthenticate x",
            "bad value for certificate: the name of a file is missing (line 4, in zeo.conf)",
        ),
        (
            "certificate x\nauthenticate",
            "bad value for authenticate: the name of a file or directory is missing (line 5",
        ),
        (
            "certificate /no/such/x\nauthenticate x",
            "bad value for certificate: the directory in the path \"/no/such/x\" does not exist",
        ),
        (
            "certificate x\nkey /no/such/x\nauthenticate x",
            "bad value for key: the directory in the path \"/no/such/x\" does not exist",
        ),
        (
            "certificate x\nauthenticate SIGNED",
            "bad value for authenticate: \"SIGNED\" is not supported; DYNAMIC stands for the \
             authorities of the system (line 5",
        ),
        (
            "certificate x\nauthenticate -",
            "bad value for authenticate: \"-\" is not supported; DYNAMIC stands for",
        ),
        (
            "certificate x\nauthenticate x\npassword-function app.password",
            "password-function app.password: no Python code is run here; leave the key out \
             and give the password by --tls-password-file, --tls-password-command or the \
             variable RZEO_TLS_PASSWORD (line 6",
        ),
        (
            "certificate x\nauthenticate x\ncheck-hostname off",
            "\"check-hostname\" is not a known key of <ssl>; expected certificate, key, ",
        ),
        (
            "<x/>\ncertificate x\nauthenticate x",
            "unknown section <x> in <ssl>",
        ),
        (
            "</ssl>\n<ssl>",
            "only one <ssl> section may be given; the first is at line 3",
        ),
    ] {
        let error = ssl(lines).unwrap_err();
        assert!(error.starts_with(expected), "{lines:?}: {error}");
    }
    let error = zeo("<tls/>").unwrap_err();
    assert!(
        error.starts_with("unknown section <tls> in <zeo>; expected <ssl>"),
        "{error}"
    );
}
