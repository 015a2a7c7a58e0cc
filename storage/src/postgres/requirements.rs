//! What a server needs of PostgreSQL and its role: looked at when it starts, so that nobody finds out at
//! a commit.

use super::connect::Connector;
use super::session::{Session, failed, value};
use super::settings::Settings;
use crate::log::Level;
use crate::{Error, Result};

/// The oldest version whose statements are used here.
const VERSION_MIN: i32 = 11;
/// The version, whether it is a standby, whether it syncs; the role, and whether it may make functions of its
/// own for a connection, and look into the schema.
const SERVER: &str = "SELECT current_setting('server_version_num')::integer / 10000,
        pg_is_in_recovery(), current_setting('fsync')::boolean, current_user::text,
        has_database_privilege(current_database(), 'TEMP'),
        has_schema_privilege('public', 'USAGE')";
/// (names, rights): those that the role lacks, and whether there is something of that name.
const LACKING: &str = "SELECT w.name, w.wanted, w.object IS NOT NULL
    FROM (SELECT name, wanted, to_regclass('public.' || name) AS object
          FROM unnest($1::text[], $2::text[]) u(name, wanted)) w
    WHERE NOT coalesce(CASE WHEN w.name = 'zoid_seq' THEN has_sequence_privilege(w.object::oid, w.wanted)
                       ELSE has_table_privilege(w.object::oid, w.wanted) END, false)";

const READ: &[&str] = &["SELECT"];
const WRITE: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE"];
/// What is used in both kinds of databases, and only with history. To lock a row takes UPDATE.
const COMMON: [(&str, &[&str]); 6] = [
    ("object_state", WRITE),
    ("blob_chunk", WRITE),
    ("commit_row_lock", &["SELECT", "UPDATE"]),
    ("zoid_seq", &["USAGE", "UPDATE"]),
    ("object_ref", &["SELECT", "DELETE"]),
    ("object_refs_added", &["SELECT", "DELETE"]),
];
const PRESERVING: [(&str, &[&str]); 2] = [("transaction", WRITE), ("current_object", WRITE)];

/// Whether PostgreSQL and the role fit, whatever is in the database.
///
/// # Errors
/// `Unsupported` with what to do. `Unavailable` and `Database`.
pub(super) fn check_server(
    session: &mut Session,
    connector: &Connector,
    settings: &Settings,
) -> Result<()> {
    let rows = session.query(SERVER, &[]);
    let rows = rows.map_err(failed("looking at the server"))?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    let shown = connector.shown();
    let (version, is_standby): (i32, bool) = (value(row, 0)?, value(row, 1)?);
    let role: String = value(row, 3)?;
    check_version(version, shown)?;
    if is_standby && !settings.read_only {
        return Err(Error::Unsupported(format!(
            "{shown} is a standby, which takes no commits: name the primary (with several hosts, add \
             target_session_attrs=read-write), or set read-only true"
        )));
    }
    if !value::<bool>(row, 5)? {
        return Err(Error::Unsupported(format!(
            "role {role} may not use the schema public of {shown}: \
             GRANT USAGE ON SCHEMA public TO the role"
        )));
    }
    if !settings.read_only && !value::<bool>(row, 4)? {
        return Err(Error::Unsupported(format!(
            "role {role} may not make temporary functions in {shown}: \
             GRANT TEMPORARY ON DATABASE ... TO the role"
        )));
    }
    if !value::<bool>(row, 2)? {
        let text =
            "fsync is off: when the database's machine loses its power, the database is lost";
        connector.log(Level::Warning, text);
    }
    Ok(())
}

fn check_version(version: i32, shown: &str) -> Result<()> {
    if version >= VERSION_MIN {
        return Ok(());
    }
    Err(Error::Unsupported(format!(
        "{shown} is PostgreSQL {version}: version {VERSION_MIN} or later is needed"
    )))
}

/// Whether the role has the rights that it needs on the tables.
///
/// # Errors
/// `Unsupported` with those that it lacks. `Unavailable` and `Database`.
pub(super) fn check_rights(
    session: &mut Session,
    connector: &Connector,
    settings: &Settings,
) -> Result<()> {
    let own = settings.keep_history.then_some(PRESERVING);
    let (mut names, mut rights) = (Vec::new(), Vec::<&str>::new());
    for (name, wanted) in COMMON.into_iter().chain(own.into_iter().flatten()) {
        let wanted = match settings.read_only {
            false => wanted,
            true if wanted == WRITE => READ,
            true => continue,
        };
        names.extend(wanted.iter().map(|_| name));
        rights.extend(wanted);
    }
    let rows = session.query(LACKING, &[&names, &rights]);
    let rows = rows.map_err(failed("looking at rights"))?;
    let shown = connector.shown();
    let mut lacking = Vec::new();
    for row in &rows {
        let (name, wanted, is_there): (String, String, bool) =
            (value(row, 0)?, value(row, 1)?, value(row, 2)?);
        if !is_there {
            return Err(Error::Unsupported(format!(
                "{shown} lacks {name}, which RelStorage's databases have: restore the whole database"
            )));
        }
        lacking.push(format!("{wanted} on {name}"));
    }
    if lacking.is_empty() {
        return Ok(());
    }
    let lacking = lacking.join(", ");
    Err(Error::Unsupported(format!(
        "the role has not the rights that it needs in {shown} ({lacking}): \
         use the role that has made the tables{}",
        if settings.read_only {
            ""
        } else {
            ", or set read-only true"
        }
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_are_refused() {
        assert!(check_version(11, "db").is_ok() && check_version(16, "db").is_ok());
        let told = check_version(9, "db").unwrap_err().to_string();
        assert!(told.contains("db is PostgreSQL 9: version 11"), "{told}");
    }
}
