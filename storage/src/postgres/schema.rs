//! The tables: made where there are none, looked at where there are.

use tokio_postgres::error::SqlState;

use super::connect::Connector;
use super::requirements::{check_rights, check_server};
use super::session::{Session, failed, told, value};
use super::settings::Settings;
use super::sql::{FREE, PRESERVING, Sql};
use crate::log::Level;
use crate::{Error, Result};

/// Held while tables are made, against other servers that do the same.
const CREATION_LOCK: &str = "SELECT pg_advisory_lock(-1001)";
const CREATION_UNLOCK: &str = "SELECT pg_advisory_unlock(-1001)";

/// (names): the tables of these names that there are.
const TABLES: &str = "SELECT tablename::text FROM pg_tables
    WHERE schemaname = 'public' AND tablename = ANY ($1)";
/// The columns that some versions of RelStorage lack.
const COLUMNS: &str = "SELECT count(*) FROM pg_catalog.pg_attribute
    WHERE attrelid = 'public.object_state'::regclass AND attname = 'state_size' AND NOT attisdropped";

/// Tables that databases of both kinds have; `transaction` is only in one.
const NAMES: [&str; 4] = [
    "object_state",
    "blob_chunk",
    "commit_row_lock",
    "transaction",
];

/// Makes the tables if there are none and the settings allow it, and returns the statements for them.
///
/// # Errors
/// `Unsupported`: PostgreSQL or the role does not fit; the database is of another kind than the settings
/// say, or not one of RelStorage.
/// `Unavailable` and `Database`.
pub(super) fn ensure(
    session: &mut Session,
    connector: &Connector,
    settings: &Settings,
) -> Result<&'static Sql> {
    let sql = if settings.keep_history {
        &PRESERVING
    } else {
        &FREE
    };
    check_server(session, connector, settings)?;
    let preparing = failed("preparing the tables");
    session.query(CREATION_LOCK, &[]).map_err(&preparing)?;
    let done = check_or_create(session, connector, settings, sql);
    let unlocked = session.query(CREATION_UNLOCK, &[]).map_err(preparing);
    done.and(unlocked).map(|_| sql)
}

/// Looks at what [`ensure`] looks at, and makes nothing. For people: what is there.
///
/// # Errors
/// As those of [`ensure`], but that the role may not make tables.
pub(super) fn look(
    session: &mut Session,
    connector: &Connector,
    settings: &Settings,
) -> Result<String> {
    check_server(session, connector, settings)?;
    let tables = tables(session)?;
    let shown = connector.shown();
    if tables.is_empty() {
        may_create(connector, settings)?;
        return Ok(format!("{shown} has no tables: a start makes them"));
    }
    check(session, connector, settings, &tables)?;
    Ok(format!("{shown} has the tables, and the role its rights"))
}

fn check_or_create(
    session: &mut Session,
    connector: &Connector,
    settings: &Settings,
    sql: &'static Sql,
) -> Result<()> {
    let tables = tables(session)?;
    if tables.is_empty() {
        return create(session, connector, settings, sql);
    }
    check(session, connector, settings, &tables)
}

fn tables(session: &mut Session) -> Result<Vec<String>> {
    let rows = session.query(TABLES, &[&&NAMES[..]]);
    let rows = rows.map_err(failed("looking at the tables"))?;
    rows.iter().map(|row| value(row, 0)).collect()
}

fn check(
    session: &mut Session,
    connector: &Connector,
    settings: &Settings,
    tables: &[String],
) -> Result<()> {
    let has = |name: &str| tables.iter().any(|table| table == name);
    let shown = connector.shown();
    if !(has("object_state") && has("blob_chunk") && has("commit_row_lock")) {
        let tables = tables.join(", ");
        return Err(Error::Unsupported(format!(
            "{shown} has tables ({tables}), but not those of RelStorage: give it a database of its own"
        )));
    }
    if has("transaction") != settings.keep_history {
        let (there, wanted) = if settings.keep_history {
            ("without", "false")
        } else {
            ("with", "true")
        };
        return Err(Error::Unsupported(format!(
            "{shown} is a database {there} history: set keep-history {wanted}, or name another database"
        )));
    }
    let rows = session.query(COLUMNS, &[]);
    let rows = rows.map_err(failed("looking at the tables"))?;
    if rows.first().map_or(Ok(0), |row| value::<i64>(row, 0))? == 0 {
        return Err(Error::Unsupported(format!(
            "{shown} is of an older RelStorage: open it once with RelStorage 4"
        )));
    }
    check_rights(session, connector, settings)
}

fn may_create(connector: &Connector, settings: &Settings) -> Result<()> {
    if settings.create_schema && !settings.read_only {
        return Ok(());
    }
    let shown = connector.shown();
    Err(Error::Unsupported(format!(
        "{shown} has no tables: let create-schema be true, and read-only false, to have them made"
    )))
}

fn create(
    session: &mut Session,
    connector: &Connector,
    settings: &Settings,
    sql: &'static Sql,
) -> Result<()> {
    may_create(connector, settings)?;
    let shown = connector.shown();
    let [common, own] = sql.schema;
    // In one transaction, which ends also if it fails.
    let made = session.batch(&format!("{common}; {own}"));
    made.map_err(|error| match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Error::Unsupported(format!(
            "the role may not make tables in {shown}: let it own the database \
             (ALTER DATABASE ... OWNER TO the role), or GRANT CREATE ON SCHEMA public ({})",
            told(&error)
        )),
        _ => failed("making the tables")(error),
    })?;
    let kind = if settings.keep_history {
        "with"
    } else {
        "without"
    };
    connector.log(Level::Info, &format!("tables were made, {kind} history"));
    Ok(())
}
