//! A backend whose disk flips one bit of every body: a simulated fault, for tests.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use proof_storage::backend::Backend;
use proof_storage::model::{
    Attributes, Body, Capabilities, ETag, GetOptions, ListPage, ListRequest, ObjectKey, ObjectMeta,
    Payload, Provider, PutMode, Retrieved, StoreError, Stored, Usage,
};

#[derive(Debug)]
pub struct Damaged(Arc<dyn Backend>);

impl Damaged {
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self(inner)
    }
}

fn flip(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes.into()
}

#[async_trait]
impl Backend for Damaged {
    fn provider(&self) -> Provider {
        self.0.provider()
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    async fn put(
        &self,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.0.put(key, payload, attributes, mode).await
    }
    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        let Retrieved { meta, body } = self.0.get(key, options).await?;
        let body = match body {
            Body::Bytes(bytes) => Body::Bytes(flip(&bytes)),
            Body::Stream(stream) => Body::Stream(Box::pin(stream.map(|piece| Ok(flip(&piece?))))),
        };
        Ok(Retrieved { meta, body })
    }
    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.0.head(key).await
    }
    async fn delete(&self, key: &ObjectKey, if_match: Option<&ETag>) -> Result<bool, StoreError> {
        self.0.delete(key, if_match).await
    }
    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<bool, StoreError>> {
        self.0.delete_many(keys).await
    }
    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.0.list(request).await
    }
    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.0.copy(source, destination, mode).await
    }
    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.0.rename(source, destination, mode).await
    }
    async fn usage(&self) -> Result<Usage, StoreError> {
        self.0.usage().await
    }
    async fn probe(&self) -> Result<(), StoreError> {
        self.0.probe().await
    }
}
