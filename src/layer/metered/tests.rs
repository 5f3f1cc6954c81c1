use std::time::SystemTime;

use futures_util::StreamExt as _;

use super::*;
use crate::backend::conformance;
use crate::backend::memory::Memory;
use crate::layer::of_west;
use crate::model::{Digest, ErrorKind, Lock, Representation, Support};
use crate::telemetry::{Label as _, Metrics};

/// Answers every call with one error, or never, or (`get` only) with a body.
#[derive(Debug)]
enum Script {
    Fail(ErrorKind),
    Hang,
    /// Pieces of a body; `true` ends it in an error.
    Stream(&'static [&'static str], bool),
}

impl Script {
    async fn answer<T>(&self) -> Result<T, StoreError> {
        match self {
            Self::Fail(kind) => Err(error(*kind)),
            Self::Hang | Self::Stream(..) => std::future::pending().await,
        }
    }
}

fn error(kind: ErrorKind) -> StoreError {
    StoreError::new(kind, Provider::Memory, "scripted")
}

#[async_trait]
impl Backend for Script {
    fn provider(&self) -> Provider {
        Provider::Memory
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            create_only: Support::Native,
            replace_if_match: Support::Native,
            delete_if_match: Support::Native,
            atomic_move: Support::Native,
            range: Support::Gateway,
            tags: Support::No,
            storage_class: Support::No,
            encryption_aes256: Support::No,
            encryption_kms: Support::No,
            versions: Support::No,
            object_lock: Support::Gateway,
            presign: Support::No,
            presign_put: Support::No,
            unique_etags: Support::Native,
            exact_times: Support::Native,
        }
    }

    async fn put(
        &self,
        _: &ObjectKey,
        _: Payload,
        _: Attributes,
        _: PutMode,
    ) -> Result<Stored, StoreError> {
        self.answer().await
    }

    async fn get(&self, key: &ObjectKey, _: GetOptions) -> Result<Retrieved, StoreError> {
        let Self::Stream(pieces, fails) = self else { return self.answer().await };
        let size = pieces.iter().map(|piece| piece.len() as u64).sum();
        let digest = Digest::of(b"");
        let representation = Representation { sha256: digest, size, stored_sha256: digest };
        let mut attributes = Attributes::new("text/plain");
        attributes.representation = Some(representation);
        let meta = ObjectMeta {
            key: key.clone(),
            etag: ETag::new("1"),
            version_id: None,
            stored_size: size,
            last_modified: SystemTime::UNIX_EPOCH,
            attributes,
            lock: Lock::default(),
            provider: Provider::Memory,
        };
        let pieces = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
        let end = fails.then(|| Err(error(ErrorKind::Corrupt)));
        let body = Body::Stream(Box::pin(futures_util::stream::iter(pieces.chain(end))));
        Ok(Retrieved::new(meta, body))
    }

    async fn head(&self, _: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.answer().await
    }

    async fn delete(&self, _: &ObjectKey, _: Option<&ETag>) -> Result<Option<bool>, StoreError> {
        self.answer().await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        let mut results = vec![Ok(Some(true)); keys.len()];
        results.push(self.answer().await);
        results
    }

    async fn list(&self, _: &ListRequest) -> Result<ListPage, StoreError> {
        self.answer().await
    }

    async fn copy(&self, _: &ObjectKey, _: &ObjectKey, _: PutMode) -> Result<Stored, StoreError> {
        self.answer().await
    }

    async fn rename(&self, _: &ObjectKey, _: &ObjectKey, _: PutMode) -> Result<Stored, StoreError> {
        self.answer().await
    }

    async fn presign(
        &self,
        _: &ObjectKey,
        _: &PresignMethod,
        _: Duration,
    ) -> Result<Presigned, StoreError> {
        self.answer().await
    }

    async fn usage(&self) -> Result<Usage, StoreError> {
        self.answer().await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.answer().await
    }
}

fn metered(script: Script) -> (Metered, Metrics) {
    let metrics = Metrics::new();
    (Metered::new(Arc::new(script), of_west(&metrics)), metrics)
}

/// The counter of one operation and outcome.
fn count(metrics: &Metrics, operation: &str, outcome: &str) -> u64 {
    let series = format!(
        "proof_storage_backend_operations_total{{backend=\"west\",provider=\"memory\",operation=\"{operation}\",\
         outcome=\"{outcome}\"}} "
    );
    let text = metrics.render();
    text.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |n| n.parse().unwrap())
}

fn key() -> ObjectKey {
    ObjectKey::new("k")
}

async fn call(backend: &Metered, operation: Operation) {
    let (one, two) = (key(), ObjectKey::new("l"));
    let page = ListRequest { prefix: String::new(), delimiter: None, limit: 1, after: None };
    let mode = PutMode::Create;
    match operation {
        Operation::Put => {
            let payload = Payload::from(Bytes::new());
            drop(backend.put(&one, payload, Attributes::new("a/b"), mode).await);
        }
        Operation::Get | Operation::GetBody => {
            drop(backend.get(&one, GetOptions::default()).await);
        }
        Operation::Head => drop(backend.head(&one).await),
        Operation::Delete => drop(backend.delete(&one, None).await),
        Operation::DeleteMany => drop(backend.delete_many(&[one]).await),
        Operation::List => drop(backend.list(&page).await),
        Operation::Copy => drop(backend.copy(&one, &two, mode).await),
        Operation::Rename => drop(backend.rename(&one, &two, mode).await),
        Operation::Presign => {
            drop(backend.presign(&one, &PresignMethod::Get, Duration::from_secs(1)).await);
        }
        Operation::Usage => drop(backend.usage().await),
        Operation::Probe => drop(backend.probe().await),
    }
}

fn calls() -> impl Iterator<Item = Operation> {
    Operation::ALL.iter().copied().filter(|operation| *operation != Operation::GetBody)
}

#[tokio::test]
async fn every_method_counts_as_itself() {
    for operation in calls() {
        let (backend, metrics) = metered(Script::Fail(ErrorKind::Timeout));
        call(&backend, operation).await;
        for other in Operation::ALL {
            let expected = u64::from(*other == operation);
            let name = other.as_str();
            assert_eq!(count(&metrics, name, "timeout"), expected, "{operation:?} as {name}");
        }
    }
}

#[tokio::test]
async fn a_dropped_call_counts_as_cancelled() {
    for operation in calls() {
        let (backend, metrics) = metered(Script::Hang);
        let mut future = Box::pin(call(&backend, operation));
        assert!(futures_util::poll!(&mut future).is_pending());
        assert_eq!(count(&metrics, operation.as_str(), "cancelled"), 0);
        drop(future);
        assert_eq!(count(&metrics, operation.as_str(), "cancelled"), 1, "{operation:?}");
    }
}

async fn body(backend: &Metered, options: GetOptions) -> BodyStream {
    match backend.get(&key(), options).await.unwrap().body {
        Body::Stream(stream) => stream,
        Body::Bytes(_) => unreachable!("the script streams"),
    }
}

#[tokio::test]
async fn a_body_counts_how_it_ended() {
    let (backend, metrics) = metered(Script::Stream(&["ab", "cd"], false));
    let read = |options| body(&backend, options);

    let whole: Vec<_> = read(GetOptions::default()).await.collect().await;
    assert_eq!(whole.len(), 2);
    assert_eq!(count(&metrics, "get_body", "ok"), 1);

    // All bytes taken, end never asked for: what a client of known length does.
    let mut stream = read(GetOptions::default()).await;
    stream.next().await.unwrap().unwrap();
    stream.next().await.unwrap().unwrap();
    drop(stream);
    assert_eq!(count(&metrics, "get_body", "ok"), 2);

    let mut stream =
        read(GetOptions { range: Some(ByteRange { start: 0, end: 2 }), if_match: None }).await;
    stream.next().await.unwrap().unwrap();
    drop(stream);
    assert_eq!(count(&metrics, "get_body", "ok"), 3);

    let mut stream = read(GetOptions::default()).await;
    stream.next().await.unwrap().unwrap();
    drop(stream);
    assert_eq!(count(&metrics, "get_body", "cancelled"), 1);
    assert_eq!(count(&metrics, "get", "ok"), 4);
}

#[tokio::test]
async fn a_body_that_fails_counts_its_failure_even_after_the_last_byte() {
    let (backend, metrics) = metered(Script::Stream(&["ab"], true));
    let mut stream = body(&backend, GetOptions::default()).await;
    stream.next().await.unwrap().unwrap();
    assert_eq!(count(&metrics, "get_body", "ok"), 0, "not ended yet");
    stream.next().await.unwrap().unwrap_err();
    assert_eq!(count(&metrics, "get_body", "corrupt"), 1);
    drop(stream);
    assert_eq!(count(&metrics, "get_body", "cancelled"), 0);
    assert_eq!(count(&metrics, "get_body", "ok"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    conformance::run(async || {
        Arc::new(Metered::new(Arc::new(Memory::new()), of_west(&Metrics::new()))) as _
    })
    .await;
}
