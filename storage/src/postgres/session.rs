//! One connection to the database.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Row, Statement};

use super::causes::cause;
pub(super) use super::client::{Both, Params};
use super::client::{Client, CopyIn};
use crate::{Error, Result};

/// A connection that keeps the statements that it has prepared.
pub(super) struct Session {
    client: Client,
    statements: HashMap<&'static str, Statement>,
}

/// How long an answer may take that shows that a connection is there.
const IS_VALID_TIME: Duration = Duration::from_secs(10);

impl Session {
    pub fn new(client: Client) -> Self {
        Self {
            client,
            statements: HashMap::new(),
        }
    }

    /// From now on, the connection counts as lost when nothing has come or gone for so long while an
    /// answer is waited for.
    pub fn set_limit(&mut self, limit: Duration) {
        self.client.set_limit(limit);
    }

    /// Runs one statement, in a transaction of its own.
    pub fn query(
        &mut self,
        sql: &'static str,
        params: Params,
    ) -> std::result::Result<Vec<Row>, tokio_postgres::Error> {
        let statement = self.statement(sql)?;
        self.client.query(&statement, params)
    }

    /// Runs two statements, each in a transaction of its own; the second one's answer does not say what has
    /// become of the first.
    pub fn query_both(
        &mut self,
        first: (&'static str, Params),
        second: (&'static str, Params),
    ) -> std::result::Result<Both, tokio_postgres::Error> {
        let statements = (self.statement(first.0)?, self.statement(second.0)?);
        self.client
            .query_both((&statements.0, first.1), (&statements.1, second.1))
    }

    /// As [`query`](Self::query), if the statement is prepared; `None` if it is not, or takes longer than `time`: then the
    /// connection is of no use.
    pub fn query_within(
        &mut self,
        time: Duration,
        sql: &'static str,
        params: Params,
    ) -> Option<std::result::Result<Vec<Row>, tokio_postgres::Error>> {
        let statement = self.statements.get(sql)?;
        let until = Instant::now() + time;
        self.client.query_until(until, statement, params)
    }

    /// Whether the statement is prepared.
    pub fn has_prepared(&self, sql: &'static str) -> bool {
        self.statements.contains_key(sql)
    }

    /// The statement, prepared once.
    fn statement(
        &mut self,
        sql: &'static str,
    ) -> std::result::Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql)?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// Runs one statement, and gives its rows away as they arrive: they never stand in memory together.
    ///
    /// # Errors
    /// As [`failed`], with `doing`; and those of `take`, after which the connection is of no use.
    pub fn each(
        &mut self,
        sql: &'static str,
        params: Params,
        doing: &'static str,
        mut take: impl FnMut(&Row) -> Result<()>,
    ) -> Result<()> {
        let statement = self.statement(sql).map_err(failed(doing))?;
        let mut rows = self
            .client
            .rows(&statement, params)
            .map_err(failed(doing))?;
        while let Some(row) = rows.next().map_err(failed(doing))? {
            take(&row)?;
        }
        Ok(())
    }

    /// Runs several statements without parameters.
    pub fn batch(&mut self, sql: &str) -> std::result::Result<(), tokio_postgres::Error> {
        self.client.batch(sql)
    }

    /// Waits for a notification, at most so long; what it says.
    ///
    /// # Errors
    /// As [`failed`]; `Unavailable` also if PostgreSQL does not answer any more.
    pub fn notified(&mut self, time: Duration) -> Result<Option<String>> {
        let listening = failed("listening");
        let heard = self.client.notified(Instant::now() + time);
        let heard = heard.map_err(&listening)?;
        // Nothing has come, or the connection is lost.
        if heard.is_none()
            && !self
                .client
                .is_valid(Instant::now() + IS_VALID_TIME)
                .map_err(listening)?
        {
            return Err(Error::Unavailable(format!(
                "PostgreSQL, listening: no answer in {} seconds",
                IS_VALID_TIME.as_secs()
            )));
        }
        Ok(heard)
    }

    /// Begins a `COPY ... FROM STDIN (FORMAT binary)` of columns of these types.
    pub fn copy_in(
        &mut self,
        sql: &'static str,
        types: &[Type],
    ) -> std::result::Result<CopyIn<'_>, tokio_postgres::Error> {
        self.client.copy_in(sql, types)
    }

    /// True when the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

/// Whether the connection is gone, or the server is about to go: what failed may succeed over another
/// connection.
pub(super) fn is_lost(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else {
        return error.is_closed() || has_io_cause(error);
    };
    let stops = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::IDLE_SESSION_TIMEOUT,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    stops.contains(code)
}

fn has_io_cause(error: &tokio_postgres::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(found) = cause {
        if found.is::<std::io::Error>() {
            return true;
        }
        cause = found.source();
    }
    false
}

/// What PostgreSQL says, in one line, with its hint.
pub(super) fn told(error: &tokio_postgres::Error) -> String {
    let Some(error) = error.as_db_error() else {
        return cause(error);
    };
    let mut text = format!("{} ({})", error.message(), error.code().code());
    for more in [error.detail(), error.hint()].into_iter().flatten() {
        text.push_str("; ");
        text.push_str(more);
    }
    text
}

/// The error of something that failed at the database; `doing` says what, as "loading an object".
pub(super) fn failed(doing: &'static str) -> impl Fn(tokio_postgres::Error) -> Error {
    move |error| {
        let mut text = format!("PostgreSQL, {doing}: {}", told(&error));
        if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) {
            text += "; raise max_connections, or the role's CONNECTION LIMIT";
        }
        if is_worth_trying_again(&error) {
            Error::Unavailable(text)
        } else {
            Error::Database(text)
        }
    }
}

/// Whether the same may succeed a moment later, perhaps over another connection.
pub(super) fn is_worth_trying_again(error: &tokio_postgres::Error) -> bool {
    let retryable = [
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    error.code().is_some_and(|code| retryable.contains(code)) || is_lost(error)
}

/// A value of a row; the table has another shape than it should if there is none.
pub(super) fn value<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    column: usize,
) -> Result<T> {
    row.try_get(column).map_err(|error| {
        let name = row
            .columns()
            .get(column)
            .map_or("?", |column| column.name());
        Error::Database(format!(
            "PostgreSQL: the column {name} is not as it should be: {error}"
        ))
    })
}
