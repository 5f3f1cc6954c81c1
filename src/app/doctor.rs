//! Examines every configured backend, without the service around it.

use std::path::PathBuf;
use std::sync::Arc;

use super::member;
use crate::backend::s3::{self, S3};
use crate::config::{BackendConfig, BackendKind, Config};
use crate::model::{Provider, Role, StoreError};

/// What was found of one backend.
#[derive(Debug)]
pub struct Examined {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// What kind of store it is.
    pub provider: Provider,
    /// What it is used for.
    pub role: Role,
    /// What came of it.
    pub found: Found,
}

/// What came of examining a backend.
#[derive(Debug)]
pub enum Found {
    /// The embedded store in this folder: nothing is tried, as a running service may hold it.
    Embedded(PathBuf),
    /// What a bucket does.
    Report(s3::Report),
    /// The first write failed, or the first read of what is only read.
    Failed(StoreError),
}

/// Tries what each backend can do, all at once.
pub async fn examine(config: &Config) -> Vec<Examined> {
    futures_util::future::join_all(config.backends.iter().map(examine_one)).await
}

async fn examine_one(config: &BackendConfig) -> Examined {
    let found = match &config.kind {
        BackendKind::Local(local) => Found::Embedded(local.data_dir.clone()),
        BackendKind::Remote(remote) => {
            let store = S3::connect(member::options(remote, config.timeout)).await;
            member::examine(config.role, &store).await.map_or_else(Found::Failed, Found::Report)
        }
    };
    let (name, provider) = (Arc::clone(&config.name), config.provider());
    Examined { name, provider, role: config.role, found }
}
