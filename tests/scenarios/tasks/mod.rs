//! The cache for tasks: the scenarios of every driver, and those that are about tasks.

use crate::every::{scenarios_of, stamp};
use crate::world::Tasks;

mod blocking;
pub(crate) mod calls;
mod code;
mod cycles;
mod dropped;
mod ends;
mod limits;
mod mutations;
mod once;
mod runtimes;
mod spans;
mod windows;

scenarios_of!(Tasks);
