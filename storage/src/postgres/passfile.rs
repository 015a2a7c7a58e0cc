//! The file of passwords, as libpq reads it (PostgreSQL's manual, "The Password File").

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What a line is looked up by.
#[derive(Clone, Copy)]
pub(super) struct Login<'a> {
    /// Several names of the same host.
    pub hosts: [&'a str; 2],
    pub port: u16,
    pub database: &'a str,
    pub user: &'a str,
}

/// The text of the file; `None` if there is none.
///
/// # Errors
/// Why it is not used, for people, as libpq warns.
pub(super) fn read(path: &Path) -> Result<Option<String>, String> {
    let shown = path.display();
    let ignored = |why: String| format!("the password file {shown} is not used: {why}");
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(ignored(why.to_string())),
    };
    if !about.is_file() {
        return Err(ignored("it is no regular file".to_owned()));
    }
    if about.permissions().mode() & 0o077 != 0 {
        return Err(ignored(format!(
            "others may read or write it (chmod 600 {shown})"
        )));
    }
    let text = fs::read(path).map_err(|why| ignored(why.to_string()))?;
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

/// The password of the first line that fits.
pub(super) fn password(text: &str, login: Login<'_>) -> Option<String> {
    let port = login.port.to_string();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(fields).find_map(|mut fields| {
        let [host, its_port, database, user, password] = fields.get_mut(..5)? else {
            return None;
        };
        let is = |field: &str, wanted: &str| field == "*" || field == wanted;
        let fits = login.hosts.iter().any(|wanted| is(host, wanted))
            && is(its_port, &port)
            && is(database, login.database)
            && is(user, login.user);
        fits.then(|| std::mem::take(password))
    })
}

/// The fields of a line, with backslashes before colons and backslashes.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (c, fields.last_mut()) {
            (':', _) => fields.push(String::new()),
            ('\\', Some(field)) => field.extend(characters.next()),
            (c, Some(field)) => field.push(c),
            (_, None) => {}
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "# host:port:database:user:password\nshort:*\n\nother:*:*:*:no\n\
                         db:5433:*:zodb:by port\n*:*:my\\:db:zodb:se\\:cr\\\\et\n";

    fn of(host: &str, port: u16) -> Option<String> {
        let hosts = [host, "localhost"];
        let (database, user) = ("my:db", "zodb");
        password(
            LINES,
            Login {
                hosts,
                port,
                database,
                user,
            },
        )
    }

    #[test]
    fn the_first_line_that_fits() {
        assert_eq!(of("db", 5433).unwrap(), "by port");
        assert_eq!(of("db", 5432).unwrap(), r"se:cr\et");
        assert_eq!(of("other", 5433).unwrap(), "no");
    }

    #[test]
    fn a_file_that_others_may_read_is_not_used() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), LINES).unwrap();
        assert_eq!(read(file.path()).unwrap().unwrap(), LINES);
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            let why = read(file.path()).unwrap_err();
            assert!(why.contains("others may read") && why.contains("chmod 600"));
        }
        assert_eq!(read(Path::new("/nowhere/at/all")).unwrap(), None);
        let why = read(Path::new("/tmp")).unwrap_err();
        assert!(why.contains("no regular file"), "{why}");
    }
}
