//! The cache driven by hand: the scenarios of both drivers, and those that only a hand can play.

use crate::both::{scenarios_of, stamp};
use crate::world::Hand;

mod fixed;
mod tickets;
mod ticks;
mod values;

scenarios_of!(Hand);
