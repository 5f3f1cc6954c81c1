//! How much the bucket holds: counted in the background, never by a request.
//!
//! A listing knows the bytes at rest and not what the callers sent, so both sums are of the bytes
//! at rest, and the figures are as old as the last walk: an estimate that says so.

use std::time::SystemTime;

use super::S3;
use crate::model::{ErrorKind, ListRequest, StoreError, Usage};

/// Names on a page, the most that S3 gives.
const PAGE: usize = 1000;

impl S3 {
    /// Walks everything below the service's prefix and keeps the sums.
    ///
    /// # Errors
    /// A page could not be read; the sums of the walk before stay.
    pub async fn count(&self) -> Result<Usage, StoreError> {
        let as_of = SystemTime::now();
        let mut usage = Usage { objects: 0, bytes: 0, stored_bytes: 0, exact: false, as_of };
        let prefix = self.shared.options.prefix.clone();
        let mut request = ListRequest { prefix, delimiter: None, limit: PAGE, after: None };
        loop {
            let page = self.page(&request).await?;
            usage.objects += page.items.len() as u64;
            usage.stored_bytes += page.items.iter().map(|item| item.stored_size).sum::<u64>();
            let Some(next) = page.next else { break };
            request.after = Some(next);
        }
        usage.bytes = usage.stored_bytes;
        *self.shared.counted.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some(usage);
        Ok(usage)
    }

    pub(super) fn counted(&self) -> Result<Usage, StoreError> {
        let counted = self.shared.counted.lock();
        let counted = *counted.unwrap_or_else(std::sync::PoisonError::into_inner);
        counted.ok_or_else(|| {
            self.error(ErrorKind::Unavailable, "the bucket has not been counted yet")
        })
    }
}
