//! Names are asked of the machine's name service, and what may not be called is left out of what it
//! says: also where a name comes to point there later.
//!
//! Where credentials come from (the instance's metadata, a container's agent) is asked by the SDK at
//! addresses of its own, not by name, and is not concerned.

use std::net::IpAddr;

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};

use crate::model::Reach;

/// Asks it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolver(pub(super) Reach);

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let found = tokio::net::lookup_host((name, 0)).await.map_err(ResolveDnsError::new)?;
            let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            self.0.filter(name, found).map_err(ResolveDnsError::new)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_of_a_metadata_service_is_not_resolved() {
        let found = Resolver(Reach::Guarded).resolve_dns("localhost").await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty());
        // An old way of writing 169.254.169.254, which the name service understands.
        let refused = Resolver(Reach::Guarded).resolve_dns("2852039166").await.unwrap_err();
        let cause = std::error::Error::source(&refused).unwrap().to_string();
        assert!(cause.contains("STORAGE_ALLOW_LINK_LOCAL"), "{cause}");
        let allowed = Resolver(Reach::Anywhere).resolve_dns("2852039166").await.unwrap();
        assert_eq!(allowed, ["169.254.169.254".parse::<IpAddr>().unwrap()]);
    }
}
