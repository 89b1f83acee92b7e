//! The scenarios that must come out right, by their ids, on virtual time: by hand, with threads and
//! with tasks.
//!
//! What all drivers must do is written once, in `every`, and stamped for each of them.

mod background;
mod bad_input;
mod every;
mod hand;
mod hybrid;
mod parity;
mod tasks;
mod threads;
mod world;
