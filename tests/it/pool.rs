//! Pools: the contract of a backend, and their own promises in the scenarios that break others.

mod contract;
mod ring;
mod scenarios;
