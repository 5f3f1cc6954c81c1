//! A simulation of S3 for tests: real TCP, real SigV4, real XML, objects in memory.
//!
//! It is no store: nothing survives the process, and nothing here was measured against a vendor for
//! speed. It answers as AWS S3, Cloudflare R2 or Garage do ([`Personality`]), so that what one of them
//! refuses or silently ignores shows up in a test, and it fails on demand ([`Fault`]). [`FaultProxy`] breaks
//! the wire, before this server or a real one.
//!
//! ```text
//! socket ─▶ server ─▶ s3s: SigV4, XML ─▶ gate: counts, faults, refusals ─▶ operations ─▶ store
//! ```
//!
//! Every condition is decided under the lock that the write takes: one winner among racing creates, and
//! a write is seen by every later read. A bucket of AWS keeps versions where it has object lock, and only
//! there. What is not simulated is refused with 501, never ignored: lists of versions, copies of old ones,
//! default rules of locks, keys of customers (SSE-C), ranges by part number. `Expires` is not kept.

mod bodies;
mod checksum;
mod conditions;
mod error;
mod fault;
mod gate;
mod listing;
mod lock;
mod object;
mod operations;
mod personality;
mod proxy;
mod server;
mod store;

pub use self::fault::{Effect, Fault};
pub use self::gate::Counts;
pub use self::lock::Lock;
pub use self::object::{Headers, Object};
pub use self::personality::Personality;
pub use self::proxy::{Darkness, FaultProxy, WireEffect, WireFault};
pub use self::server::FakeS3;
