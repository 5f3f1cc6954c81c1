//! What a backend can do, as found by trying it, not by reading about it.

use std::time::Duration;

use super::error::{ErrorKind, StoreError};
use super::object::Provider;

/// When to ask again for what is not known yet.
const KNOWN_BY_THEN: Duration = Duration::from_secs(1);

/// How a feature is provided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Support {
    /// By the backend itself, exact under any concurrency.
    Native,
    /// By this process on the backend's behalf: holds among the writers of one process only.
    Gateway,
    /// Nobody has tried yet, or nothing came of it: a request that needs it is told to come later.
    Unknown,
    /// Not at all: a request that needs it is refused.
    No,
}

impl Support {
    /// What two features come to where both are needed.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Gateway, _) | (_, Self::Gateway) => Self::Gateway,
            (Self::Native, Self::Native) => Self::Native,
        }
    }

    /// Whether a request that needs the feature can be served.
    pub fn is_available(self) -> bool {
        matches!(self, Self::Native | Self::Gateway)
    }

    /// Refuses what needs a feature that `provider` has not; `feature` is its name for callers.
    ///
    /// # Errors
    /// `Unsupported`, or `Unavailable` while it is not known.
    pub fn require(self, provider: Provider, feature: &str) -> Result<(), StoreError> {
        match self {
            Self::Native | Self::Gateway => Ok(()),
            Self::Unknown => {
                let detail = format!(
                    "whether the '{provider}' backend has {feature} is found out when it answers; \
                     nothing was stored"
                );
                let error = StoreError::new(ErrorKind::Unavailable, provider, detail);
                Err(error.with_retry_after(KNOWN_BY_THEN).unasked())
            }
            Self::No => {
                let detail =
                    format!("the '{provider}' backend has no {feature}; nothing was stored");
                Err(StoreError::new(ErrorKind::Unsupported, provider, detail))
            }
        }
    }
}

impl Capabilities {
    /// What whoever relies on them has to know, in words.
    pub fn notes(&self) -> Vec<String> {
        let conditions = [
            ("create_only", self.create_only),
            ("replace_if_match", self.replace_if_match),
            ("delete_if_match", self.delete_if_match),
        ];
        let ours: Vec<_> = conditions
            .into_iter()
            .filter(|(_, support)| *support == Support::Gateway)
            .map(|(name, _)| name)
            .collect();
        if ours.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "{}: compared by this service on the backend's behalf, which holds within one process \
             only; run one replica, or give each a prefix of its own",
            ours.join(", ")
        )]
    }
}

/// The features that differ between backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Capabilities {
    /// `PutMode::Create`: exactly one of several racing creates wins.
    pub create_only: Support,
    /// `PutMode::Replace`: compare-and-swap on the ETag.
    pub replace_if_match: Support,
    /// Delete that compares the ETag.
    pub delete_if_match: Support,
    /// Move during which no reader sees both names or neither.
    pub atomic_move: Support,
    /// Reads of a part of the stored bytes.
    pub range: Support,
    /// Key-value tags.
    pub tags: Support,
    /// Named storage classes.
    pub storage_class: Support,
    /// Encryption at rest under the backend's own key.
    pub encryption_aes256: Support,
    /// Encryption at rest under a key-management service.
    pub encryption_kms: Support,
    /// Old versions are kept and named.
    pub versions: Support,
    /// Objects are locked by the backend itself, so that nobody destroys them before their time. Where it
    /// is `Gateway`, only this service refuses to.
    pub object_lock: Support,
    /// URLs signed by the backend itself.
    pub presign: Support,
    /// The same for storing. Not told by itself: where it lacks, the service signs.
    #[serde(skip)]
    pub presign_put: Support,
    /// Every write has an ETag of its own, also of the same bytes. Else, as on S3, the ETag tells
    /// bytes apart and not writes.
    pub unique_etags: Support,
    /// The answer to a write has the time that later reads have. Else it may be seconds off.
    pub exact_times: Support,
}

impl Capabilities {
    /// Each feature by its name in answers.
    pub fn each(&self) -> [(&'static str, Support); 14] {
        [
            ("create_only", self.create_only),
            ("replace_if_match", self.replace_if_match),
            ("delete_if_match", self.delete_if_match),
            ("atomic_move", self.atomic_move),
            ("range", self.range),
            ("tags", self.tags),
            ("storage_class", self.storage_class),
            ("encryption_aes256", self.encryption_aes256),
            ("encryption_kms", self.encryption_kms),
            ("versions", self.versions),
            ("object_lock", self.object_lock),
            ("presign", self.presign),
            ("unique_etags", self.unique_etags),
            ("exact_times", self.exact_times),
        ]
    }
}
