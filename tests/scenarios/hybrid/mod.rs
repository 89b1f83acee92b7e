//! Memory in front of a store that processes share: each cache here is a process of its own.

mod batches;
mod coherence;
mod far;
mod faults;
mod leases;
mod mutations;
mod promotion;
mod tags;
