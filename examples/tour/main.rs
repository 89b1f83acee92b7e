//! A tour: the cache at its main job, on a real SQLite database in a temporary folder.
//!
//! `cargo run --release --example tour` takes less than half a minute once built. It ends with a
//! list of promises that were checked on the way, and exits with 1 if one did not hold.

mod capacity;
mod database;
mod incident;
mod show;
mod stampede;
mod tables;

use std::process::ExitCode;
use std::time::Instant;

use database::Database;
use show::Promises;

fn main() -> ExitCode {
    let start = Instant::now();
    match tour() {
        Ok(promises) => {
            println!("\nThe tour took {:.1} s.", start.elapsed().as_secs_f64());
            if promises.print() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("the tour could not go on: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tour() -> Result<Promises, Box<dyn std::error::Error>> {
    let cores = std::thread::available_parallelism()?.get();
    println!("A cache between an application and its database, shown on a real SQLite file.");
    let database = Database::create()?;
    let (rows, query) = (database::ROWS, database.time_a_query()?);
    println!("{cores} cores; {rows} orders; one query takes {}.", show::time(query));

    let mut promises = Promises::default();
    incident::show(&database, &mut promises)?;
    stampede::show(&database, &mut promises)?;
    tables::show(&database, &mut promises)?;
    capacity::show(&mut promises)?;
    Ok(promises)
}
