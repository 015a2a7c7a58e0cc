//! From the text of an `%include`, or of `-C`, to a file.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The file that `-C` names: a path, taken as it is, or a `file:` URL.
///
/// # Errors
/// A sentence, when it is a URL of another scheme.
pub fn configure_argument(text: &Path) -> Result<PathBuf, String> {
    match text.to_str() {
        Some(url) if scheme(url).is_some() => located(url, Path::new("")),
        _ => Ok(text.to_owned()),
    }
}

/// The file that an `%include` in `including` names: a URL, or a path relative to the including
/// file, in which `%xx` stands for a byte, since ZConfig joins the two as URLs.
///
/// # Errors
/// A sentence, when it is a URL of a scheme other than `file:`, or has a fragment.
pub fn included(text: &str, including: &Path) -> Result<PathBuf, String> {
    let base = including.parent().unwrap_or(Path::new(""));
    located(text, base)
}

fn located(text: &str, base: &Path) -> Result<PathBuf, String> {
    if text.contains('#') {
        return Err(format!(
            "fragment identifiers are not supported in {text:?}; write '%23' for '#'"
        ));
    }
    let path = match scheme(text) {
        None => text,
        Some(name) if name.eq_ignore_ascii_case("file") => {
            let path = text.get(name.len() + 1..).unwrap_or_default();
            match path.strip_prefix("//") {
                None => path,
                Some(path) if path.starts_with('/') => path,
                Some(_) => return Err(format!("{text:?} names a host; only local files")),
            }
        }
        Some(_) => return Err(format!("{text:?} is not a file; only local files")),
    };
    Ok(base.join(OsString::from_vec(unquoted(path))))
}

/// The scheme that `text` begins with. A single letter is none: it would be a drive's.
fn scheme(text: &str) -> Option<&str> {
    let (name, _) = text.split_once(':')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let is_scheme = name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(plain);
    is_scheme.then_some(name)
}

/// The bytes of `text` with every `%xx` replaced by the byte it stands for.
fn unquoted(text: &str) -> Vec<u8> {
    let mut result = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        let byte = digits
            .filter(|d| first == b'%' && d.bytes().all(|c| c.is_ascii_hexdigit()))
            .and_then(|d| u8::from_str_radix(d, 16).ok());
        result.push(byte.unwrap_or(first));
        let used = if byte.is_some() { 2 } else { 0 };
        rest = after.get(used..).unwrap_or_default();
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includes_are_relative_to_the_including_file() {
        for (text, expected) in [
            ("b.conf", "/etc/zeo/b.conf"),
            ("../b.conf", "/etc/zeo/../b.conf"),
            ("/x/b.conf", "/x/b.conf"),
            ("a%20b.conf", "/etc/zeo/a b.conf"),
            ("100%.conf", "/etc/zeo/100%.conf"),
            ("file:///x/b.conf", "/x/b.conf"),
            ("FILE:/x/b.conf", "/x/b.conf"),
            ("file:///x/b%20c", "/x/b c"),
        ] {
            let path = included(text, Path::new("/etc/zeo/zeo.conf"));
            assert_eq!(path, Ok(PathBuf::from(expected)), "{text}");
        }
        let path = included("b.conf", Path::new("zeo.conf"));
        assert_eq!(path, Ok(PathBuf::from("b.conf")));
    }

    #[test]
    fn other_urls_are_refused() {
        for text in ["http://x/y", "package:ZEO:x", "file://host/x", "a.conf#b"] {
            assert!(included(text, Path::new("zeo.conf")).is_err(), "{text}");
        }
    }

    #[test]
    fn configure_takes_paths_and_file_urls() {
        for (text, expected) in [
            ("etc/zeo.conf", "etc/zeo.conf"),
            ("a%20b#c", "a%20b#c"),
            ("./a:b", "./a:b"),
            ("file:///etc/a%20b", "/etc/a b"),
        ] {
            let path = configure_argument(Path::new(text));
            assert_eq!(path, Ok(PathBuf::from(expected)), "{text}");
        }
        assert!(configure_argument(Path::new("http://x/y")).is_err());
    }
}
