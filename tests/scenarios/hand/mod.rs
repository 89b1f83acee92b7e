//! The cache driven by hand: the scenarios of every driver, and those that only a hand can play.

use crate::every::{scenarios_of, stamp};
use crate::world::Hand;

mod fixed;
mod tickets;
mod ticks;
mod values;

scenarios_of!(Hand);
