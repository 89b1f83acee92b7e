//! Bad input: each ends in a typed error or a stated result; nothing hangs, panics of its own or
//! is lost.

mod asking;
mod capacity;
mod dropped;
mod keys;
mod limits;
mod loaders;
mod spans;
mod values;
