//! Who of several replicas finishes what others wrote down: a lease that only saves work.

use std::time::Duration;

use tokio::time::Instant;

use super::member::is_race;
use super::parts::Parts;
use crate::model::{Attributes, ErrorKind, GetOptions, Payload, PutMode};

/// For how long a lease is good that is not renewed, as seen by those who wait for it.
const GOOD_FOR: Duration = Duration::from_secs(8);

/// A replica's part in it.
#[derive(Debug, Default)]
pub(super) struct Lease {
    renewed: Option<Instant>,
    /// Times that it was renewed: what others see change.
    count: u64,
    /// What another one wrote, and since when it has stood there: nobody's wall clock decides.
    seen: Option<(String, Instant)>,
}

impl Parts {
    /// Takes or renews the lease. Who cannot ask for it works without.
    pub(super) async fn holds(&self, lease: &mut Lease) -> bool {
        if lease.renewed.is_some_and(|at| at.elapsed() < GOOD_FOR / 3) {
            return true;
        }
        let name = self.records.lease();
        let owner = format!("{:08x}", self.clock.writer());
        for member in self.members.iter().filter(|member| member.role.takes_writes()) {
            let mode = match member.backend.get(&name, GetOptions::default()).await {
                Ok(found) => {
                    let etag = found.meta.etag.clone();
                    let Ok(text) = found.body.collect().await else { continue };
                    let text = String::from_utf8_lossy(&text).into_owned();
                    if !text.starts_with(&owner) && !lease.is_over(&text) {
                        lease.renewed = None;
                        return false;
                    }
                    PutMode::Replace(etag)
                }
                Err(error) if error.kind() == ErrorKind::NotFound => PutMode::Create,
                Err(_) => continue,
            };
            lease.count += 1;
            let body = Payload::Bytes(format!("{owner} {}", lease.count).into());
            let put = member.backend.put(&name, body, Attributes::new("text/plain"), mode);
            match put.await {
                Ok(_) => {
                    lease.renewed = Some(Instant::now());
                    return true;
                }
                Err(error) if is_race(&error) => return false,
                Err(_) => {}
            }
        }
        true
    }
}

impl Lease {
    /// Whether another one's lease has not changed for too long.
    fn is_over(&mut self, text: &str) -> bool {
        match &self.seen {
            Some((seen, since)) if seen == text => since.elapsed() >= GOOD_FOR,
            _ => {
                self.seen = Some((text.to_owned(), Instant::now()));
                false
            }
        }
    }
}
