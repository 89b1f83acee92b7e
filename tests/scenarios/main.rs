//! The scenarios that must come out right, by their ids, on virtual time: by hand and with threads.
//!
//! What both drivers must do is written once, in `both`, and stamped for each of them.

mod background;
mod bad_input;
mod both;
mod hand;
mod parity;
mod threads;
mod world;
