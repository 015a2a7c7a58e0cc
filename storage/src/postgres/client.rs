//! A connection to PostgreSQL that is moved on by the thread that asks.
//!
//! The crate `tokio-postgres` speaks the protocol. There is no runtime: who asks polls its connection and his
//! question in turns, and sleeps in poll(2) when neither can go on. So a question takes one
//! send, one wait and one receive.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_core::Stream;
use futures_util::future::join;
use openssl::ssl::SslConnector;
use postgres_openssl::{TlsConnector, TlsStream};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{
    AsyncMessage, Config, Connection, Error, Row, RowStream, SimpleQueryMessage, Statement,
};

use super::socket::{Socket, Sockets, connect_to_host};

/// The parameters of a statement.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// How long nothing may come or go while an answer is waited for, if the configuration does not say it.
const LIMIT: Duration = Duration::from_secs(30);

/// The rows of a question, and the answer to one that was asked behind it.
pub(super) type Both = (Vec<Row>, Result<Vec<Row>, Error>);

/// How a server proves who it is.
#[derive(Clone)]
pub(super) struct Tls {
    pub connector: SslConnector,
    /// Its certificate must have its name.
    pub verifies_name: bool,
}

impl Tls {
    fn to(&self, name: &str) -> io::Result<TlsConnector> {
        let mut connection = self.connector.configure().map_err(io::Error::other)?;
        connection.set_verify_hostname(self.verifies_name);
        Ok(TlsConnector::new(connection, name))
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// Of the socket, or of what is on its other side.
    Io(io::Error),
    /// What PostgreSQL says, or what does not speak its protocol.
    Refused(Error),
}

impl From<io::Error> for ConnectError {
    fn from(why: io::Error) -> Self {
        Self::Io(why)
    }
}

/// An open connection.
pub(super) struct Client {
    // Dropped before the line, which says good-bye when nobody can ask any more.
    asks: tokio_postgres::Client,
    line: Line,
}

impl Client {
    /// Connects to the host of a configuration, which names one.
    ///
    /// # Errors
    /// That of the last of its addresses.
    pub fn connect(config: &Config, tls: &Tls, sockets: &Sockets) -> Result<Self, ConnectError> {
        let name = match config.get_hosts() {
            [Host::Tcp(name), ..] => name,
            _ => "",
        };
        connect_to_host(config, |socket, until| {
            sockets.add(&socket)?;
            Self::begin(config, tls.to(name)?, socket, until)
        })
    }

    fn begin(
        config: &Config,
        tls: TlsConnector,
        socket: Socket,
        until: Option<Instant>,
    ) -> Result<Self, ConnectError> {
        let silent = || io::Error::new(io::ErrorKind::TimedOut, "connection timed out");
        let news = Arc::<News>::default();
        let waker = Waker::from(Arc::clone(&news));
        let mut opening = pin!(config.connect_raw(socket.clone(), tls));
        let (asks, connection) = loop {
            if let Poll::Ready(done) = opening.as_mut().poll(&mut Context::from_waker(&waker)) {
                break done.map_err(ConnectError::Refused)?;
            }
            if !news.take() && !socket.wait(until) {
                return Err(silent().into());
            }
        };
        let line = Line {
            connection,
            socket,
            news,
            waker,
            notifications: VecDeque::new(),
            limit: config.get_tcp_user_timeout().copied().unwrap_or(LIMIT),
        };
        let mut client = Self { asks, line };
        if config.get_target_session_attrs() == TargetSessionAttrs::ReadWrite {
            let asked = client.asks.simple_query("SHOW transaction_read_only");
            let answer = client.line.wait_until(until, asked).ok_or_else(silent)?;
            let is_read_only = answer
                .map_err(ConnectError::Refused)?
                .iter()
                .any(|message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("on")));
            if is_read_only {
                let why = "database does not allow writes";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why).into());
            }
        }
        Ok(client)
    }

    /// From now on, the connection counts as lost when nothing has come or gone for so long while an
    /// answer is waited for.
    pub fn set_limit(&mut self, limit: Duration) {
        self.line.limit = limit;
    }

    pub fn prepare(&mut self, sql: &str) -> Result<Statement, Error> {
        self.line.wait_for(self.asks.prepare(sql))
    }

    pub fn query(&mut self, statement: &Statement, params: Params) -> Result<Vec<Row>, Error> {
        self.line.wait_for(self.asks.query(statement, params))
    }

    /// Asks two questions at once: the second sees what the first has committed.
    ///
    /// # Errors
    /// That of the first.
    pub fn query_both(
        &mut self,
        first: (&Statement, Params),
        second: (&Statement, Params),
    ) -> Result<Both, Error> {
        let one = self.asks.query(first.0, first.1);
        let other = self.asks.query(second.0, second.1);
        let both = async {
            let (one, other) = join(one, other).await;
            Ok((one?, other))
        };
        self.line.wait_for(both)
    }

    /// The same as [`query`](Self::query); `None` if there is no answer until then. Then the connection is of no use.
    pub fn query_until(
        &mut self,
        until: Instant,
        statement: &Statement,
        params: Params,
    ) -> Option<Result<Vec<Row>, Error>> {
        let asked = self.asks.query(statement, params);
        self.line.wait_until(Some(until), asked)
    }

    /// Runs a statement, and gives its rows away as they arrive.
    pub fn rows(&mut self, statement: &Statement, params: Params) -> Result<Rows<'_>, Error> {
        let params = params.iter().copied();
        let rows = self.line.wait_for(self.asks.query_raw(statement, params))?;
        Ok(Rows {
            line: &mut self.line,
            rows: Box::pin(rows),
        })
    }

    /// Runs several statements without parameters.
    pub fn batch(&mut self, sql: &str) -> Result<(), Error> {
        self.line.wait_for(self.asks.batch_execute(sql))
    }

    /// Begins a `COPY ... FROM STDIN (FORMAT binary)` of columns of these types.
    pub fn copy_in(&mut self, sql: &str, types: &[Type]) -> Result<CopyIn<'_>, Error> {
        let sink = self.line.wait_for(self.asks.copy_in(sql))?;
        Ok(CopyIn {
            line: &mut self.line,
            rows: Box::pin(BinaryCopyInWriter::new(sink, types)),
        })
    }

    /// Waits for a notification, at most until then; what it says.
    pub fn notified(&mut self, until: Instant) -> Result<Option<String>, Error> {
        self.line.notified(until)
    }

    /// Whether PostgreSQL answers until then.
    pub fn is_valid(&mut self, until: Instant) -> Result<bool, Error> {
        let answer = self
            .line
            .wait_until(Some(until), self.asks.simple_query(""));
        answer.map_or(Ok(false), |answer| answer.map(|_| true))
    }

    /// True when the connection is known to be gone.
    pub fn is_closed(&self) -> bool {
        self.asks.is_closed()
    }
}

/// The rows of a statement.
pub(super) struct Rows<'a> {
    line: &'a mut Line,
    rows: Pin<Box<RowStream>>,
}

impl Rows<'_> {
    pub fn next(&mut self) -> Result<Option<Row>, Error> {
        let rows = &mut self.rows;
        let next = poll_fn(|cx| rows.as_mut().poll_next(cx).map(Option::transpose));
        self.line.wait_for(next)
    }
}

/// Rows that are copied into a table.
pub(super) struct CopyIn<'a> {
    line: &'a mut Line,
    rows: Pin<Box<BinaryCopyInWriter>>,
}

impl CopyIn<'_> {
    /// # Panics
    /// If there are not as many values as types.
    pub fn write(&mut self, values: Params) -> Result<(), Error> {
        self.line.wait_for(self.rows.as_mut().write(values))
    }

    /// Without it, nothing is copied.
    pub fn finish(mut self) -> Result<(), Error> {
        let finish = self.rows.as_mut().finish();
        self.line.wait_for(finish).map(drop)
    }
}

/// What is between us and PostgreSQL.
struct Line {
    connection: Connection<Socket, TlsStream<Socket>>,
    socket: Socket,
    news: Arc<News>,
    waker: Waker,
    notifications: VecDeque<String>,
    limit: Duration,
}

impl Line {
    /// Moves it on, as far as the socket lets it.
    fn turn(&mut self) -> Result<(), Error> {
        let mut cx = Context::from_waker(&self.waker);
        while let Poll::Ready(Some(message)) = self.connection.poll_message(&mut cx) {
            if let AsyncMessage::Notification(notification) = message? {
                self.notifications
                    .push_back(notification.payload().to_owned());
            }
        }
        Ok(())
    }

    fn wait_for<T>(
        &mut self,
        question: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut question = pin!(question);
        loop {
            if let Some(answer) = self.wait_until(None, question.as_mut()) {
                return answer;
            }
        }
    }

    /// The answer; `None` if it takes longer than until then.
    fn wait_until<T>(
        &mut self,
        until: Option<Instant>,
        question: impl Future<Output = Result<T, Error>>,
    ) -> Option<Result<T, Error>> {
        let mut question = pin!(question);
        loop {
            if let Err(why) = self.turn() {
                return Some(Err(why));
            }
            let mut cx = Context::from_waker(&self.waker);
            if let Poll::Ready(answer) = question.as_mut().poll(&mut cx) {
                return Some(answer);
            }
            if self.news.take() {
                continue;
            }
            let limit = until.unwrap_or_else(|| Instant::now() + self.limit);
            if !self.socket.wait(Some(limit)) {
                if until.is_some() {
                    return None;
                }
                let seconds = self.limit.as_secs_f64();
                self.socket.end(format!(
                    "the database has not answered for {seconds} seconds"
                ));
            }
        }
    }

    fn notified(&mut self, until: Instant) -> Result<Option<String>, Error> {
        loop {
            if let Some(notification) = self.notifications.pop_front() {
                return Ok(Some(notification));
            }
            self.turn()?;
            if self.notifications.is_empty() && !self.socket.wait(Some(until)) {
                return Ok(None);
            }
        }
    }
}

impl Drop for Line {
    /// Says good-bye, unless something is under way.
    fn drop(&mut self) {
        let _ = self.turn();
    }
}

/// Whether connection or question can go on, which they tell each other.
#[derive(Default)]
struct News(AtomicBool);

impl News {
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Wake for News {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
