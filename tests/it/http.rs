//! The HTTP contract through the router, over the in-memory model: what every caller is promised.

pub mod client;
mod conditional;
mod connections;
mod errors;
mod headers;
mod limits;
mod listing;
mod objects;
pub mod pool;
mod pool_deletes;
mod problems;
mod representation;
mod signed;
mod transfer;
