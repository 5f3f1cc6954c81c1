//! New keys: what retired ones wrapped is brought under the active one, and nothing is undone by it.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use proof_storage::backend::Backend;
use proof_storage::backend::faulty::{Fault, Faulty, Operation};
use proof_storage::backend::memory::Memory;
use proof_storage::model::{
    Attributes, Capabilities, ETag, ErrorKind, GetOptions, ListPage, ListRequest, ObjectKey,
    ObjectMeta, Payload, PoolMode, PresignMethod, Presigned, Provider, PutMode, Retrieved,
    StoreError, Stored, Support, Usage,
};
use proof_storage::pool::{Pool, PoolPolicy};
use proof_storage::vault::{Rewrapped, Rewrapping, Sealed};

use super::{memory, over};
use crate::http::pool::members;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name)
}

/// Nobody else writes.
async fn no_turn(_: ObjectKey) -> Result<(), StoreError> {
    Ok(())
}

async fn put(store: &Sealed, name: &str, text: &str) {
    let bytes = bytes::Bytes::copy_from_slice(text.as_bytes());
    let attributes = Attributes::new("text/plain");
    store.put(&key(name), bytes.into(), attributes, PutMode::Overwrite).await.unwrap();
}

async fn text(store: &Sealed, name: &str) -> Result<String, ErrorKind> {
    let found = store.get(&key(name), GetOptions::default()).await.map_err(|e| e.kind())?;
    let bytes = found.body.collect().await.map_err(|e| e.kind())?;
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

async fn rekey(store: &Sealed, after: Option<&str>) -> Result<Rewrapped, StoreError> {
    let what = Rewrapping { after: after.map(str::to_owned), ..Rewrapping::default() };
    store.rewrap_all(what, true, no_turn, |_| {}).await
}

#[tokio::test]
async fn retired_keys_open_and_are_needed_no_more_once_all_is_rekeyed() {
    let (inner, folder) = (memory(), tempfile::tempdir().unwrap());
    let old = over(&inner, "2025", folder.path());
    let names: Vec<_> = (0..30).map(|n| format!("a/{n:02}")).collect();
    for name in &names {
        put(&old, name, name).await;
    }
    let raw = |name: &str| {
        let (inner, name) = (inner.clone(), key(name));
        async move { inner.get(&name, GetOptions::default()).await.unwrap().body.collect().await }
    };
    let before = raw("a/07").await.unwrap();
    let both = over(&inner, "2026 2025", folder.path());
    put(&both, "a/new", "sealed under the new key").await;
    let what = Rewrapping { dry_run: true, ..Rewrapping::default() };
    let planned = both.rewrap_all(what, false, no_turn, |_| {}).await.unwrap();
    assert_eq!((planned.looked_at, planned.rewrapped, planned.current), (31, 30, 1));
    let new = over(&inner, "2026", folder.path());
    assert_eq!(text(&new, "a/07").await, Err(ErrorKind::KeyMissing), "a dry run changes nothing");
    let found = rekey(&new, None).await.unwrap();
    assert_eq!((found.key_missing, found.rewrapped), (30, 0), "nobody rekeys without the old key");

    let found = rekey(&both, None).await.unwrap();
    assert_eq!((found.rewrapped, found.current, found.failed), (30, 1, 0));
    for name in &names {
        assert_eq!(text(&new, name).await.as_ref(), Ok(name));
        assert_eq!(text(&old, name).await, Err(ErrorKind::KeyMissing));
    }
    assert_eq!(raw("a/07").await.unwrap(), before, "the frames are the same");
    let again = rekey(&both, None).await.unwrap();
    assert_eq!((again.rewrapped, again.current), (0, 31));
}

#[tokio::test]
async fn who_was_stopped_goes_on() {
    let faulty = Arc::new(Faulty::new(Memory::new(), 1));
    let (inner, folder) = (faulty.clone() as Arc<dyn Backend>, tempfile::tempdir().unwrap());
    let old = over(&inner, "2025", folder.path());
    for n in 0..10 {
        put(&old, &format!("{n}"), "x").await;
    }
    let both = over(&inner, "2026 2025", folder.path());
    // The fourth write fails, and a later one is done and its answer lost.
    let fail = Some(Fault::Refuse(ErrorKind::Failed));
    faulty.script(Operation::Put, [None, None, None, fail]);
    let mut last = None;
    let what = Rewrapping::default();
    let stopped = both.rewrap_all(what, true, no_turn, |found| last = found.last.clone()).await;
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Failed);
    let lost = Some(Fault::Lose(ErrorKind::Indeterminate));
    faulty.script(Operation::Put, [None, lost]);
    assert_eq!(rekey(&both, None).await.unwrap_err().kind(), ErrorKind::Indeterminate);
    let found = rekey(&both, None).await.unwrap();
    assert_eq!((found.current, found.rewrapped), (5, 5), "what was done is not done again");
    // Behind a name only what is behind it is looked at.
    assert_eq!(rekey(&both, Some("6")).await.unwrap().looked_at, 3);
    let new = over(&inner, "2026", folder.path());
    for n in 0..10 {
        assert_eq!(text(&new, &format!("{n}")).await, Ok("x".into()));
    }
}

type Prank = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// Somebody else who does something right after an object was read whole, or looked at.
struct Meddled {
    inner: Arc<dyn Backend>,
    after: Operation,
    prank: Mutex<Option<Prank>>,
}

impl Meddled {
    fn between(
        inner: &Arc<dyn Backend>,
        after: Operation,
        prank: impl FnOnce() -> BoxFuture<'static, ()> + Send + 'static,
    ) -> Arc<dyn Backend> {
        let prank: Prank = Box::new(prank);
        Arc::new(Self { inner: inner.clone(), after, prank: Mutex::new(Some(prank)) })
    }

    async fn meddle(&self, after: Operation) {
        let prank = if after == self.after { self.prank.lock().unwrap().take() } else { None };
        if let Some(prank) = prank {
            prank().await;
        }
    }
}

impl fmt::Debug for Meddled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meddled")
    }
}

#[async_trait]
impl Backend for Meddled {
    fn provider(&self) -> Provider {
        self.inner.provider()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    async fn put(
        &self,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.inner.put(key, payload, attributes, mode).await
    }
    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        let found = self.inner.get(key, options).await;
        self.meddle(Operation::Get).await;
        found
    }
    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        let found = self.inner.head(key).await;
        self.meddle(Operation::Head).await;
        found
    }
    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        self.inner.delete(key, if_match).await
    }
    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        self.inner.delete_many(keys).await
    }
    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.inner.list(request).await
    }
    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.inner.copy(source, destination, mode).await
    }
    async fn salvage(&self, source: &ObjectKey, aside: &ObjectKey) -> Result<(), StoreError> {
        self.inner.salvage(source, aside).await
    }
    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.inner.rename(source, destination, mode).await
    }
    async fn presign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        expires_in: Duration,
    ) -> Result<Presigned, StoreError> {
        self.inner.presign(key, method, expires_in).await
    }
    async fn usage(&self) -> Result<Usage, StoreError> {
        self.inner.usage().await
    }
    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }
}

/// What a rekeying does and leaves at `a`, where somebody meddles between its read and its write.
async fn meddled(
    inner: Arc<dyn Backend>,
    prank: impl FnOnce(Sealed) -> BoxFuture<'static, ()> + Send + 'static,
) -> (Rewrapped, Result<String, ErrorKind>) {
    let folder = tempfile::tempdir().unwrap();
    put(&over(&inner, "2025", folder.path()), "a", "old").await;
    let others = over(&inner, "2026 2025", folder.path());
    let backend = Meddled::between(&inner, Operation::Get, move || prank(others));
    let found = rekey(&over(&backend, "2026 2025", folder.path()), None).await.unwrap();
    (found, text(&over(&inner, "2026", folder.path()), "a").await)
}

fn mirror() -> Arc<dyn Backend> {
    let (_, setups) = members(["far", "near"]);
    Pool::new(setups, PoolPolicy::new(PoolMode::Mirror, 2, "", std::env::temp_dir()))
}

#[tokio::test]
async fn what_others_do_meanwhile_stays_done() {
    for make in [memory, mirror] {
        let nothing = meddled(make(), |_| Box::pin(async {})).await;
        assert_eq!((nothing.0.rewrapped, nothing.1), (1, Ok("old".into())), "the control");

        let deleted = meddled(make(), |others| {
            Box::pin(async move { others.delete(&key("a"), None).await.map(|_| ()).unwrap() })
        })
        .await;
        assert_eq!((deleted.0.overtaken, deleted.0.rewrapped), (1, 0));
        assert_eq!(deleted.1, Err(ErrorKind::NotFound), "a delete is not undone");

        let replaced =
            meddled(make(), |others| Box::pin(async move { put(&others, "a", "new").await })).await;
        assert_eq!((replaced.0.current, replaced.0.rewrapped), (1, 0));
        assert_eq!(replaced.1, Ok("new".into()), "a replacement is not undone");

        let again = meddled(make(), |others| {
            Box::pin(async move {
                others.delete(&key("a"), None).await.unwrap();
                put(&others, "a", "another").await;
            })
        })
        .await;
        assert_eq!((again.0.current, again.1), (1, Ok("another".into())));
    }
}

#[tokio::test]
async fn a_move_takes_nothing_that_others_changed_meanwhile() {
    let (inner, folder) = (memory(), tempfile::tempdir().unwrap());
    let plain = over(&inner, "2026", folder.path());
    put(&plain, "a", "text").await;
    let others = plain.clone();
    let deleted = Meddled::between(&inner, Operation::Get, move || {
        Box::pin(async move { others.delete(&key("a"), None).await.map(|_| ()).unwrap() })
    });
    let store = over(&deleted, "2026", folder.path());
    let moved = store.rename(&key("a"), &key("b"), PutMode::Create).await;
    assert_eq!(moved.unwrap_err().kind(), ErrorKind::Indeterminate, "it went meanwhile");
    assert_eq!(text(&plain, "a").await, Err(ErrorKind::NotFound));
    // As if it had been moved before the delete: of another move nobody could tell it.
    assert_eq!(text(&plain, "b").await, Ok("text".into()), "what was copied is never taken back");

    plain.delete(&key("b"), None).await.unwrap();
    put(&plain, "a", "text").await;
    let others = plain.clone();
    let replaced = Meddled::between(&inner, Operation::Get, move || {
        Box::pin(async move { put(&others, "a", "newer").await })
    });
    let store = over(&replaced, "2026", folder.path());
    let moved = store.rename(&key("a"), &key("b"), PutMode::Create).await;
    assert_eq!(moved.unwrap_err().kind(), ErrorKind::Indeterminate, "both are kept");
    assert_eq!(text(&plain, "a").await, Ok("newer".into()));
    assert_eq!(text(&plain, "b").await, Ok("text".into()));
}

/// The store below copies it with the header of its old name.
#[tokio::test]
async fn what_is_sealed_between_the_look_and_the_copy_opens_under_its_new_name() {
    for way in [Operation::Copy, Operation::Rename] {
        let (inner, folder) = (memory(), tempfile::tempdir().unwrap());
        let unsealed = Attributes::new("text/plain");
        let bytes = bytes::Bytes::from_static(b"plain");
        inner.put(&key("a"), bytes.into(), unsealed, PutMode::Create).await.unwrap();
        let plain = over(&inner, "2026", folder.path());
        assert_eq!(
            text(&plain, "a").await,
            Ok("plain".into()),
            "the control: what is not sealed is read"
        );
        let others = plain.clone();
        let sealed = Meddled::between(&inner, Operation::Head, move || {
            Box::pin(async move { put(&others, "a", "sealed").await })
        });
        let store = over(&sealed, "2026", folder.path());
        let (from, to) = (key("a"), key("b"));
        let done = match way {
            Operation::Copy => store.copy(&from, &to, PutMode::Create).await,
            _ => store.rename(&from, &to, PutMode::Create).await,
        };
        assert_eq!(done.unwrap().replaced, Some(false));
        assert_eq!(text(&plain, "b").await, Ok("sealed".into()), "{way:?}");
    }
}

/// Where versions are compared in this process only, another one's delete could be undone.
#[tokio::test]
async fn a_backend_that_does_not_compare_is_rekeyed_only_by_who_is_alone() {
    use fake_s3::{FakeS3, Personality};
    let server = FakeS3::start(Personality::Garage).unwrap();
    let (store, _) = crate::s3::examined(&server, Provider::S3).await;
    assert_eq!(store.capabilities().replace_if_match, Support::Gateway);
    let (inner, folder) = (Arc::new(store) as Arc<dyn Backend>, tempfile::tempdir().unwrap());
    put(&over(&inner, "2025", folder.path()), "a", "x").await;
    let both = over(&inner, "2026 2025", folder.path());
    let refused = both.rewrap_all(Rewrapping::default(), false, no_turn, |_| {}).await.unwrap_err();
    assert!(refused.detail().contains("--alone"), "{refused}");
    assert_eq!(rekey(&both, None).await.unwrap().rewrapped, 1);
    assert_eq!(text(&over(&inner, "2026", folder.path()), "a").await, Ok("x".into()));
}
