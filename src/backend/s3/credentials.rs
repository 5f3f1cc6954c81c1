//! How long the credentials live that requests are signed with.
//!
//! The SDK keeps fetched credentials for a while and does not tell which of them made a signature.
//! So whoever provides them is watched, and a signature's key id says how long its makers live:
//! what is signed twice is asked for once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_credential_types::provider::future;
use aws_sdk_s3::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};

/// Ends of temporary credentials, by key id. Others have none.
#[derive(Clone, Debug, Default)]
pub(super) struct Lives(Arc<Mutex<HashMap<String, SystemTime>>>);

impl Lives {
    /// When these credentials end, where they do.
    pub(super) fn end_of(&self, access_key_id: &str) -> Option<SystemTime> {
        // An insertion is never seen half done, so a poisoned lock is usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(access_key_id).copied()
    }

    /// The same provider, watched.
    pub(super) fn watch(&self, inner: SharedCredentialsProvider) -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(Watched { inner, lives: self.clone() })
    }

    fn note(&self, credentials: &Credentials) {
        let Some(end) = credentials.expiry() else { return };
        let now = SystemTime::now();
        let mut lives = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lives.retain(|_, end| *end > now);
        lives.insert(credentials.access_key_id().to_owned(), end);
    }
}

#[derive(Debug)]
struct Watched {
    inner: SharedCredentialsProvider,
    lives: Lives,
}

impl ProvideCredentials for Watched {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let credentials = self.inner.provide_credentials().await?;
            self.lives.note(&credentials);
            Ok(credentials)
        })
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.inner.fallback_on_interrupt()
    }
}
