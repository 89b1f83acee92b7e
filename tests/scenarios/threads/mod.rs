//! The cache for threads: the scenarios of every driver, and those that are about threads.

use crate::every::{scenarios_of, stamp};
use crate::world::Threads;

mod once;
mod values;

scenarios_of!(Threads);
