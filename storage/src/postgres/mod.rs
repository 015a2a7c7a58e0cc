//! A storage in a PostgreSQL database, in the tables of Python's RelStorage 4.3: several servers, and
//! RelStorage itself, may work on one database at the same time.
//!
//! # Who is who
//!
//! | connections | of | what for |
//! |---|---|---|
//! | `load` | any thread, up to 16 | reads, each statement a transaction of its own |
//! | `lock` | votes, 4 | locks on objects, for as long as a transaction is between its vote and its end |
//! | `commit` | the log writer | all transactions that wait, in one transaction of the database |
//! | `commit` | votes with blobs, one for each | the blobs, and then the transaction that has them, in one transaction of the database |
//! | `listen ADDRESS TID` | 1 | what other servers tell (`peers`), and who is there (`servers`) |
//! | `pack` | a pack | the pack lock of RelStorage (-2), reading and removing |
//! | `copy` | `fstool copy` | many transactions at once, as they were elsewhere (`bulk`) |
//!
//! Who asks waits for the connection himself (`session`, `client`, `socket`): there is no runtime of
//! tokio.
//!
//! # A commit
//!
//! 1. The *vote* (`commit`) locks the objects against other processes (`lockers`), reads their
//!    serials, and resolves conflicts.
//! 2. *Append* (`append`) makes one call: under the lock that all processes commit under (-1), it
//!    looks what others have committed, looks once more that nobody has changed the objects (an undo
//!    by RelStorage takes no locks), chooses tids by the database's clock, and writes. PostgreSQL
//!    syncs once. Then the objects are given back: the next vote unlocks them on its way, or a thread
//!    a millisecond later, and nobody waits for it.
//!
//! If the connection is lost meanwhile, nobody is told anything before it is known what has become of
//! it: the process at the database is ended, and then its rows are there or not. They can't have been
//! overwritten, since the locks are held by other connections.
//!
//! # What others commit
//!
//! Tids become visible in rising order (`changes`). They are looked for at each poll, and by each
//! append, so that everything is published in the order of tids. Without history, all that is found at
//! once is published at once (`groups`). Servers tell each other that there is something to look for (`peers`).
//!
//! # A database that hangs
//!
//! Whatever waits for an answer has a limit (`client`, `Session::set_limit`), after which the connection is lost; and
//! `Connector::end` ends all that is waited for, when the server stops.
//!
//! # A pack
//!
//! Over a connection of its own, `pack`, beside commits by anybody: see the module of that name.
//!
//! # What readers see
//!
//! What is published. With history, the tables have the revision that was current then. Without, they
//! have only the newest one: if that is not published yet, a load waits until it is; older ones are
//! answered from memory (`recent`, which gets what is committed by anybody) or not at all, and the client reads anew (`ReadConflictError`).

mod after_commit;
mod append;
mod backend;
mod batch;
mod begin_again;
mod blob_cache;
mod blobs;
mod bulk;
mod bulk_rows;
mod causes;
mod certificates;
mod changes;
mod client;
mod commit;
mod connect;
mod dsn;
mod groups;
mod ids;
mod iterate;
mod keywords;
mod lockers;
mod news;
mod oids;
mod pack;
mod packing;
mod passfile;
mod peers;
mod readers;
mod reads;
mod recent;
mod report;
mod requirements;
mod rows;
mod schema;
mod section;
mod servers;
mod session;
mod settings;
mod settle;
mod socket;
mod sql;
mod storage;
mod targets;
mod turns;
mod undo;
mod writer;

pub use self::dsn::Dsn;
pub use self::section::read_section;
pub use self::settings::Settings;
pub use self::storage::PostgresStorage;
