//! The cache for tasks: the scenarios of every driver, and those that are about tasks.

use crate::every::{scenarios_of, stamp};
use crate::world::Tasks;

scenarios_of!(Tasks);
