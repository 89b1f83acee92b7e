//! The cache for threads: the scenarios of both drivers, and those that are about threads.

use crate::both::{scenarios_of, stamp};
use crate::world::Threads;

mod once;
mod values;

scenarios_of!(Threads);
