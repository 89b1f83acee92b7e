//! The origin: a SQLite file whose query takes milliseconds.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::{fs, io};

use rusqlite::{Connection, ErrorCode, Transaction, params};

use crate::show::Progress;

/// Orders in the database; each query looks at all of them.
pub(crate) const ORDERS: u64 = 40_000;
/// Customers who made them.
pub(crate) const CUSTOMERS: u64 = 200;
/// How long a connection waits for a lock before it gives up with `SQLITE_BUSY`.
pub(crate) const PATIENCE: Duration = Duration::from_millis(10);

const SCHEMA: &str = "
    PRAGMA journal_mode = DELETE;
    PRAGMA synchronous = OFF;
    CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL, cents INTEGER NOT NULL,
                         note TEXT NOT NULL);";
const QUERY: &str = "
    SELECT c.name, count(*), sum(o.cents)
    FROM customers AS c JOIN orders AS o ON o.customer = c.id
    WHERE c.id = ?1";
const NAMES: [&str; 8] =
    ["Ada", "Grace", "Edsger", "Barbara", "Donald", "Frances", "Tony", "Radia"];

/// What a customer has ordered: the answer of the query.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) name: String,
    pub(crate) orders: u64,
    pub(crate) cents: u64,
    /// When the database said so.
    pub(crate) read_at: Instant,
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
            Some(ErrorCode::DatabaseBusy) => Self::Locked,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// A temporary folder, removed when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn create() -> io::Result<Self> {
        let name = format!("advanced-caching-tour-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // What a run that was killed may have left, if it had the same number.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn file(&self) -> PathBuf {
        self.0.join("orders.sqlite")
    }

    /// Bytes of the database.
    pub(crate) fn size(&self) -> io::Result<u64> {
        Ok(fs::metadata(self.file())?.len())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning of its temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The database as one of its users sees it: clones share connections and count their queries
/// together.
#[derive(Clone)]
pub(crate) struct Database {
    file: Arc<Path>,
    idle: Arc<Mutex<Vec<Connection>>>,
    queries: Arc<AtomicU64>,
}

impl Database {
    /// Makes and fills a database.
    pub(crate) fn create(folder: &Folder) -> Result<Self, Failure> {
        let new =
            Self { file: folder.file().into(), idle: Arc::default(), queries: Arc::default() };
        let mut connection = new.connect()?;
        connection.execute_batch(SCHEMA)?;
        let transaction = connection.transaction()?;
        fill(&transaction)?;
        transaction.commit()?;
        Ok(new)
    }

    /// The same database for another user, with a count of its own.
    pub(crate) fn counted(&self) -> Self {
        Self { queries: Arc::default(), ..self.clone() }
    }

    /// Queries of this user so far, failed ones included.
    pub(crate) fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }

    fn connect(&self) -> Result<Connection, Failure> {
        let connection = Connection::open(&self.file)?;
        connection.busy_timeout(PATIENCE)?;
        Ok(connection)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds up a customer's orders, by looking at all orders there are. Numbers beyond the last
    /// customer begin again with the first.
    pub(crate) fn summary(&self, customer: u64) -> Result<Summary, Failure> {
        self.queries.fetch_add(1, Ordering::Relaxed);
        let idle = self.idle().pop();
        let connection = idle.map_or_else(|| self.connect(), Ok)?;
        let summary = ask(&connection, customer % CUSTOMERS);
        self.idle().push(connection);
        summary
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

    /// The median of a few queries.
    pub(crate) fn time_a_query(&self) -> Result<Duration, Failure> {
        let mut times = vec![];
        for customer in 0..15 {
            let start = Instant::now();
            self.summary(customer)?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        Ok(times[times.len() / 2])
    }
}

fn ask(connection: &Connection, customer: u64) -> Result<Summary, Failure> {
    let summary = connection.prepare_cached(QUERY)?.query_row([customer], |row| {
        let (name, orders, cents) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Summary { name, orders, cents, read_at: Instant::now() })
    })?;
    Ok(summary)
}

fn fill(transaction: &Transaction<'_>) -> Result<(), Failure> {
    let mut customer = transaction.prepare("INSERT INTO customers VALUES (?1, ?2)")?;
    for id in 0..CUSTOMERS {
        let name = NAMES[id as usize % NAMES.len()];
        customer.execute(params![id, format!("{name} {id}")])?;
    }
    let progress = Progress::new("filling the database", ORDERS);
    let mut order = transaction.prepare("INSERT INTO orders VALUES (?1, ?2, ?3, ?4)")?;
    for id in 0..ORDERS {
        order.execute(params![id, id % CUSTOMERS, 100 + id * 37 % 9_000, format!("order {id}")])?;
        progress.advance(1);
    }
    progress.done();
    Ok(())
}
