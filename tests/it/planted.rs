//! Stores with one planted bug each: what the suites must find, or they prove nothing.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;

use proof_storage::backend::Backend;
use proof_storage::backend::memory::Memory;
use proof_storage::model::{
    Attributes, Body, ByteRange, Capabilities, ETag, Encryption, ErrorKind, GetOptions, ListPage,
    ListRequest, ObjectKey, ObjectMeta, Payload, PresignMethod, Presigned, Provider, PutMode,
    Retrieved, StoreError, Stored, Support, Usage,
};

/// What is wrong with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// `Create` overwrites.
    CreateOverwrites,
    /// `Create` looks first and writes then, with a gap between.
    CreateRaces,
    /// `Replace` overwrites whatever is there.
    ReplaceIgnoresVersion,
    /// `Replace` of a missing object creates it.
    ReplaceCreates,
    /// Every tenth delete answers and does nothing.
    DeleteForgets,
    /// A conditional delete deletes whatever is there.
    DeleteIgnoresVersion,
    /// Answers of `delete_many` come in the order of keys.
    DeleteManySorts,
    /// Names are listed without regard to case.
    ListByLocale,
    /// The first entry after a page's border is skipped.
    ListSkipsAtBorder,
    /// A common prefix that goes on past a border is given again.
    ListRepeatsPrefix,
    /// Common prefixes do not count in the limit.
    ListLimitIgnoresPrefixes,
    /// There is always another page.
    ListNeverEnds,
    /// Only the first byte of the delimiter is looked at.
    ListShortDelimiter,
    /// A range misses its last byte.
    RangeShort,
    /// A range past the end is cut to what is there.
    RangeClamps,
    /// The pinned version of a read is not compared.
    GetIgnoresVersion,
    /// `Cache-Control` is dropped.
    SwallowsAttributes,
    /// A storage class is accepted and dropped.
    SwallowsStorageClass,
    /// Encryption is accepted, kept as a word and not done.
    ClaimsEncryption,
    /// Metadata values keep only ASCII.
    AsciiMetadata,
    /// Copies lose the metadata.
    CopyDropsAttributes,
    /// Copy overwrites in every mode.
    CopyIgnoresMode,
    /// Copy onto itself succeeds.
    CopyOntoItself,
    /// Rename leaves the source.
    RenameLeavesSource,
    /// Rename deletes first and writes then.
    RenameGap,
    /// Rename writes first and deletes then, and calls it atomic.
    RenameShowsBoth,
    /// The ETag is a digest of the length.
    EtagOfContent,
    /// A rename counts an object twice.
    UsageDrifts,
    /// Everything after the first MiB is cut off.
    CutsLargeBodies,
    /// A body is read when the stream is, not when the read began.
    StreamsLatest,
    /// Names are normalised to lower case.
    FoldsCase,
    /// Attributes are written a moment after the bytes.
    TearsOverwrites,
    /// Says that it lacks ranges and serves them.
    HidesRange,
    /// A write answers before it is done.
    AnswersEarly,
}

/// All of them, with the case that must find each.
pub(crate) const BUGS: &[(Bug, &str)] = &[
    (Bug::CreateOverwrites, "write::create_refuses_a_second"),
    (Bug::CreateRaces, "races::create_has_one_winner"),
    (Bug::ReplaceIgnoresVersion, "races::replace_has_one_winner"),
    (Bug::ReplaceCreates, "write::replace_needs_exactly_that_version"),
    (Bug::DeleteForgets, "delete::many_handles_thousands"),
    (Bug::DeleteIgnoresVersion, "delete::if_match_spares_other_versions"),
    (Bug::DeleteManySorts, "delete::many_answers_in_order"),
    (Bug::ListByLocale, "list::order_is_of_bytes"),
    (Bug::ListSkipsAtBorder, "list::paging_gives_exactly_all"),
    (Bug::ListRepeatsPrefix, "list::paging_gives_exactly_all"),
    (Bug::ListLimitIgnoresPrefixes, "list::limit_counts_common_prefixes"),
    (Bug::ListNeverEnds, "list::page_of_a_thousand"),
    (Bug::ListShortDelimiter, "list::delimiter_of_several_bytes"),
    (Bug::RangeShort, "range::any_part_is_exact"),
    (Bug::RangeClamps, "range::past_the_end_is_invalid"),
    (Bug::GetIgnoresVersion, "range::if_match_pins_the_version"),
    (Bug::SwallowsAttributes, "attributes::all_travel_with_the_object"),
    (Bug::SwallowsStorageClass, "attributes::storage_class_is_kept_or_refused"),
    (Bug::ClaimsEncryption, "attributes::encryption_is_kept_or_refused"),
    (Bug::AsciiMetadata, "attributes::long_and_unicode_values_survive"),
    (Bug::CopyDropsAttributes, "relocate::copy_leaves_the_source"),
    (Bug::CopyIgnoresMode, "relocate::create_spares_the_destination"),
    (Bug::CopyOntoItself, "relocate::onto_itself_is_invalid"),
    (Bug::RenameLeavesSource, "relocate::rename_removes_the_source"),
    (Bug::RenameGap, "observed::renames_are_never_seen_half"),
    (Bug::RenameShowsBoth, "observed::renames_are_never_seen_half"),
    (Bug::EtagOfContent, "write::every_write_has_its_own_etag"),
    (Bug::UsageDrifts, "usage::counts_a_mixed_history"),
    (Bug::CutsLargeBodies, "write::bytes_survive_at_every_size"),
    (Bug::StreamsLatest, "streams::overwritten_meanwhile"),
    (Bug::FoldsCase, "names::odd_names_are_kept_apart"),
    (Bug::TearsOverwrites, "observed::overwrites_are_never_mixed"),
    (Bug::HidesRange, "range::any_part_is_exact"),
    (Bug::AnswersEarly, "observed::writes_are_read_at_once"),
];

/// A right store behind one bug.
#[derive(Debug)]
pub(crate) struct Planted {
    inner: Arc<Memory>,
    bug: Bug,
    drift: Mutex<u64>,
    deletes: Mutex<u64>,
}

impl Planted {
    pub(crate) fn new(bug: Bug) -> Self {
        let inner = Arc::new(Memory::new());
        Self { inner, bug, drift: Mutex::new(0), deletes: Mutex::new(0) }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    fn key(&self, key: &ObjectKey) -> ObjectKey {
        if self.has(Bug::FoldsCase) {
            return ObjectKey::new(key.as_str().to_ascii_lowercase());
        }
        key.clone()
    }

    fn attributes(&self, mut attributes: Attributes) -> Attributes {
        match self.bug {
            Bug::SwallowsAttributes => attributes.cache_control = None,
            Bug::SwallowsStorageClass => attributes.storage_class = None,
            Bug::ClaimsEncryption => attributes.encryption = Encryption::None,
            Bug::AsciiMetadata => {
                attributes.metadata.values_mut().for_each(|value| value.retain(|c| c.is_ascii()));
            }
            _ => {}
        }
        attributes
    }

    fn meta(&self, mut meta: ObjectMeta) -> ObjectMeta {
        if self.has(Bug::EtagOfContent) {
            meta.etag = ETag::new(meta.stored_size.to_string());
        }
        meta
    }

    fn stored(&self, stored: Stored) -> Stored {
        Stored { meta: self.meta(stored.meta), ..stored }
    }

    async fn mode(&self, key: &ObjectKey, mode: PutMode) -> Result<PutMode, StoreError> {
        match (self.bug, &mode) {
            (Bug::CreateOverwrites, PutMode::Create) => Ok(PutMode::Overwrite),
            (Bug::CreateRaces, PutMode::Create) => {
                if self.inner.head(key).await.is_ok() {
                    return Ok(mode);
                }
                gap().await;
                Ok(PutMode::Overwrite)
            }
            (Bug::ReplaceIgnoresVersion, PutMode::Replace(_)) => match self.inner.head(key).await {
                Ok(_) => Ok(PutMode::Overwrite),
                Err(_) => Ok(mode),
            },
            (Bug::ReplaceCreates, PutMode::Replace(_)) => match self.inner.head(key).await {
                Ok(_) => Ok(mode),
                Err(_) => Ok(PutMode::Create),
            },
            _ => Ok(mode),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Backend for Planted {
    fn provider(&self) -> Provider {
        self.inner.provider()
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = self.inner.capabilities();
        if self.has(Bug::HidesRange) {
            can.range = Support::No;
        }
        can
    }

    async fn put(
        &self,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let key = &self.key(key);
        let mode = self.mode(key, mode).await?;
        let wanted = self.attributes(attributes);
        if self.has(Bug::TearsOverwrites)
            && let Ok(old) = self.inner.head(key).await
        {
            self.inner.put(key, payload.clone(), old.attributes, PutMode::Overwrite).await?;
            gap().await;
        }
        let payload = match payload.len() {
            1_048_577.. if self.has(Bug::CutsLargeBodies) => {
                payload.read_at(0, 1_048_576).expect("readable").into()
            }
            _ => payload,
        };
        if self.has(Bug::AnswersEarly) && mode == PutMode::Overwrite {
            let before = Memory::new();
            let stored = before.put(key, payload.clone(), wanted.clone(), mode.clone()).await?;
            let (inner, key) = (self.inner.clone(), key.clone());
            tokio::spawn(async move { inner.put(&key, payload, wanted, mode).await });
            return Ok(stored);
        }
        Ok(self.stored(self.inner.put(key, payload, wanted, mode).await?))
    }

    async fn get(&self, key: &ObjectKey, mut options: GetOptions) -> Result<Retrieved, StoreError> {
        let key = &self.key(key);
        if self.has(Bug::GetIgnoresVersion) {
            options.if_match = None;
        }
        if let Some(range) = &mut options.range {
            match self.bug {
                Bug::RangeShort => range.end = range.end.max(range.start + 2) - 1,
                Bug::RangeClamps => {
                    let size = self.inner.head(key).await?.stored_size;
                    range.end = range.end.min(size.max(range.start + 1));
                }
                _ => {}
            }
        }
        let found = self.inner.get(key, options.clone()).await?;
        let meta = self.meta(found.meta);
        if self.has(Bug::StreamsLatest) && options.range.is_none() && meta.stored_size > 1_000_000 {
            let latest = self.latest(key, meta.stored_size);
            return Ok(Retrieved::new(meta, latest));
        }
        Ok(Retrieved::new(meta, found.body))
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        Ok(self.meta(self.inner.head(&self.key(key)).await?))
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        let if_match = if_match.filter(|_| !self.has(Bug::DeleteIgnoresVersion));
        self.inner.delete(&self.key(key), if_match).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        let mut keys: Vec<ObjectKey> = keys.iter().map(|key| self.key(key)).collect();
        if self.has(Bug::DeleteManySorts) {
            keys.sort();
        }
        let mut answers = Vec::with_capacity(keys.len());
        for key in keys {
            let forget = {
                let mut deletes = self.deletes.lock().expect("not poisoned");
                *deletes += 1;
                self.has(Bug::DeleteForgets) && deletes.is_multiple_of(11)
            };
            answers.push(match forget {
                true => self.inner.head(&key).await.map(|_| Some(true)).or(Ok(Some(false))),
                false => self.inner.delete(&key, None).await,
            });
        }
        answers
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let mut asked = request.clone();
        match (self.bug, &mut asked) {
            (Bug::ListShortDelimiter, ListRequest { delimiter: Some(delimiter), .. }) => {
                delimiter.truncate(delimiter.chars().next().map_or(0, char::len_utf8));
            }
            (Bug::ListSkipsAtBorder, ListRequest { after: Some(after), .. }) => after.push('/'),
            (Bug::ListRepeatsPrefix, ListRequest { after: Some(after), .. })
                if after.ends_with('/') =>
            {
                after.pop();
            }
            (Bug::ListLimitIgnoresPrefixes, ListRequest { limit, delimiter: Some(_), .. }) => {
                *limit = (*limit * 2).min(1000);
            }
            _ => {}
        }
        let mut page = self.inner.list(&asked).await?;
        match self.bug {
            Bug::ListByLocale => page.items.sort_by_key(|item| item.key.as_str().to_lowercase()),
            Bug::ListNeverEnds => page.next = page.items.last().map(|item| item.key.to_string()),
            _ => {}
        }
        for item in &mut page.items {
            if self.has(Bug::EtagOfContent) {
                item.etag = ETag::new(item.stored_size.to_string());
            }
        }
        Ok(page)
    }

    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let (source, destination) = (&self.key(source), &self.key(destination));
        if self.has(Bug::CopyOntoItself) && source == destination {
            let meta = self.inner.head(source).await?;
            return Ok(Stored { meta, replaced: Some(true) });
        }
        let mode = if self.has(Bug::CopyIgnoresMode) { PutMode::Overwrite } else { mode };
        if self.has(Bug::CopyDropsAttributes) {
            let found = self.inner.get(source, GetOptions::default()).await?;
            if let Body::Bytes(bytes) = found.body {
                let attributes = Attributes::new(found.meta.attributes.content_type);
                return self.inner.put(destination, bytes.into(), attributes, mode).await;
            }
        }
        Ok(self.stored(self.inner.copy(source, destination, mode).await?))
    }

    async fn salvage(&self, source: &ObjectKey, aside: &ObjectKey) -> Result<(), StoreError> {
        self.inner.salvage(&self.key(source), &self.key(aside)).await
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let (source, destination) = (&self.key(source), &self.key(destination));
        match self.bug {
            Bug::RenameLeavesSource => self.inner.copy(source, destination, mode).await,
            Bug::RenameShowsBoth => {
                let stored = self.inner.copy(source, destination, mode).await?;
                gap().await;
                self.inner.delete(source, None).await?;
                Ok(stored)
            }
            Bug::RenameGap => {
                let hidden = ObjectKey::new(format!("hidden/{destination}"));
                self.inner.rename(source, &hidden, PutMode::Overwrite).await?;
                gap().await;
                self.inner.rename(&hidden, destination, mode).await
            }
            _ => {
                let stored = self.inner.rename(source, destination, mode).await?;
                *self.drift.lock().expect("not poisoned") += 1;
                Ok(self.stored(stored))
            }
        }
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
        let mut usage = self.inner.usage().await?;
        if self.has(Bug::UsageDrifts) {
            usage.objects += *self.drift.lock().expect("not poisoned");
        }
        usage.as_of = SystemTime::now();
        Ok(usage)
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }
}

impl Planted {
    /// Reads each piece from whatever version is there by then.
    fn latest(&self, key: &ObjectKey, size: u64) -> Body {
        const PIECE: u64 = 256 * 1024;
        let start = (self.inner.clone(), key.clone(), 0);
        Body::Stream(Box::pin(stream::unfold(start, move |(inner, key, at)| async move {
            if at >= size {
                return None;
            }
            let range = Some(ByteRange { start: at, end: size.min(at + PIECE) });
            let piece = match inner.get(&key, GetOptions { range, if_match: None }).await {
                Ok(Retrieved { body: Body::Bytes(bytes), .. }) => Ok(bytes),
                Ok(_) => Ok(Bytes::new()),
                Err(error) => {
                    Err(StoreError::new(ErrorKind::Unavailable, Provider::Memory, "gone")
                        .with_source(error))
                }
            };
            Some((piece, (inner, key, at + PIECE)))
        })))
    }
}

/// Long enough for others to look in between.
async fn gap() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}
