//! E1: one script, run by hand, by threads and by tasks, gives the same trace.

mod generated;
mod script;
mod written;
