//! The origin: a SQLite file whose queries take milliseconds.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rusqlite::{Connection, ErrorCode, params};

use crate::show::Progress;

/// Orders in the database; each query looks at all of them.
pub(crate) const ROWS: u64 = 40_000;
/// Customers who made them.
pub(crate) const CUSTOMERS: u64 = 200;
/// How long a connection waits for a lock before it gives up with `SQLITE_BUSY`.
const PATIENCE: Duration = Duration::from_millis(5);

/// What is known of a customer: the answer of the query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) orders: u64,
    pub(crate) cents: u64,
}

/// Why a query failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Another connection holds the file.
    Locked,
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => f.write_str("database is locked (SQLITE_BUSY)"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl core::error::Error for Failure {}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// The database and its connections. Clones share it; the last one removes the folder.
#[derive(Clone)]
pub(crate) struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    idle: Mutex<Vec<Connection>>,
    queries: AtomicU64,
}

impl Database {
    /// Makes a database in a temporary folder of its own.
    pub(crate) fn create() -> Result<Self, Failure> {
        let folder =
            std::env::temp_dir().join(format!("advanced-caching-tour-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| Failure::Other(error.to_string()))?;
        let inner = Inner { folder, idle: Mutex::default(), queries: AtomicU64::new(0) };
        let database = Self { inner: Arc::new(inner) };
        database.fill()?;
        Ok(database)
    }

    fn fill(&self) -> Result<(), Failure> {
        let mut connection = self.connect()?;
        connection.execute_batch(
            "PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF;
             CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, cents INTEGER, note TEXT);",
        )?;
        let progress = Progress::new("filling the database", ROWS);
        let transaction = connection.transaction()?;
        let mut insert = transaction.prepare("INSERT INTO orders VALUES (?1, ?2, ?3, ?4)")?;
        for id in 0..ROWS {
            let note = format!("order {id} of customer {}", id % CUSTOMERS);
            insert.execute(params![id, id % CUSTOMERS, 100 + id % 9_000, note])?;
            progress.advance(1);
        }
        drop(insert);
        transaction.commit()?;
        progress.done();
        Ok(())
    }

    fn connect(&self) -> Result<Connection, Failure> {
        let connection = Connection::open(self.inner.folder.join("orders.sqlite"))?;
        connection.busy_timeout(PATIENCE)?;
        Ok(connection)
    }

    /// Adds up a customer's orders, by looking at all orders there are. Any number is a customer's.
    pub(crate) fn summary(&self, customer: u64) -> Result<Summary, Failure> {
        self.inner.queries.fetch_add(1, Ordering::Relaxed);
        let idle = self.idle().pop();
        let connection = idle.map_or_else(|| self.connect(), Ok)?;
        let sql =
            "SELECT count(*), sum(cents) FROM orders WHERE customer = ?1 AND note LIKE 'order%'";
        let summary = connection.prepare_cached(sql)?.query_row([customer % CUSTOMERS], |row| {
            Ok(Summary { orders: row.get(0)?, cents: row.get(1)? })
        });
        self.idle().push(connection);
        Ok(summary?)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.inner.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds the file against all other connections while `meanwhile` runs.
    pub(crate) fn locked<T>(&self, meanwhile: impl FnOnce() -> T) -> Result<T, Failure> {
        let connection = self.connect()?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.execute_batch("BEGIN EXCLUSIVE")?;
        let result = meanwhile();
        connection.execute_batch("COMMIT")?;
        Ok(result)
    }

    /// Queries so far, failed ones included.
    pub(crate) fn queries(&self) -> u64 {
        self.inner.queries.load(Ordering::Relaxed)
    }

    /// The median of a few queries.
    pub(crate) fn time_a_query(&self) -> Result<Duration, Failure> {
        let mut times = vec![];
        for customer in 0..9 {
            let start = Instant::now();
            self.summary(customer)?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        Ok(times[times.len() / 2])
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        // What cannot be removed is left to the system's own cleaning of its temporary folder.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
