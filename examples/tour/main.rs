//! A tour: the cache at its main job, on a real SQLite database in a temporary folder.
//!
//! `cargo run --release --example tour` takes less than half a minute once built. It ends with a
//! list of promises that were checked on the way, and exits with 1 if one of them did not hold.

mod capacity;
mod database;
mod incident;
mod load;
mod promises;
mod report;
mod show;
mod stampede;
mod tables;
mod zipf;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use database::{CUSTOMERS, Database, Folder, ORDERS, Summary};
use promises::Promises;
use show::{count, time};

fn main() -> ExitCode {
    let start = Instant::now();
    let mut promises = Promises::default();
    if let Err(error) = tour(&mut promises) {
        eprintln!("the tour could not go on: {error}");
        return ExitCode::FAILURE;
    }
    let held = promises.print();
    println!("\nThe tour took {}.", time(start.elapsed()));
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The whole tour. The folder goes before this returns, whatever happens on the way.
fn tour(promises: &mut Promises) -> Result<(), Box<dyn Error>> {
    let folder = Folder::create()?;
    let path = folder.path().to_owned();
    scenes(&folder, promises)?;
    drop(folder);
    promises.check("end: the temporary folder was removed", "", !path.exists());
    Ok(())
}

fn scenes(folder: &Folder, promises: &mut Promises) -> Result<(), Box<dyn Error>> {
    println!("A cache for Rust, shown on a real SQLite database in a temporary folder.");
    println!("Four scenes of one question each, then what was checked. Less than half a minute.\n");
    let database = Database::create(folder)?;
    introduce(&database, folder)?;
    incident::show(&database, promises)?;
    stampede::show(&database, promises)?;
    tables::show(&database, promises)?;
    capacity::show(promises)
}

/// The machine, the database, and the query that everything is about.
fn introduce(database: &Database, folder: &Folder) -> Result<(), Box<dyn Error>> {
    let cores = std::thread::available_parallelism()?;
    let (size, query) = (folder.size()? as f64 / 1e6, time(database.time_a_query()?));
    let (orders, customers) = (count(ORDERS), count(CUSTOMERS));
    let Summary { name, orders: theirs, cents, .. } = database.summary(7)?;
    let (whole, hundredths) = (count(cents / 100), cents % 100);
    println!("Cores     {cores}");
    println!(
        "Database  SQLite {}: {orders} orders of {customers} customers, {size:.1} MB",
        rusqlite::version()
    );
    println!("Query     all orders of one customer, added up, without an index: {query}");
    println!("          for example {name}: {theirs} orders, {whole}.{hundredths:02}");
    Ok(())
}
