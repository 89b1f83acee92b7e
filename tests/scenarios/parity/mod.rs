//! E1: one script, run by hand and by threads, gives the same trace.

mod generated;
mod script;
mod written;
