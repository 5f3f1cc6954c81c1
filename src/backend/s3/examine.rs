//! What the backend really does, found by doing it on throw-away keys.
//!
//! A feature counts only if its effect was seen: a condition that was given and not kept, a header
//! that was taken and dropped, an answer that is well-formed and wrong are all found here. Keys
//! are below `.proof-storage/doctor/`, each run under a name of its own, and removed at the end.
//!
//! Called by the `doctor` command and in the background at start-up.

mod attempts;
mod conditions;
mod lock;
mod reading;
mod urls;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::S3;
use crate::model::{Capabilities, Provider, RESERVED, StoreError, Support};

/// What nobody can do for the backend. Everything else is done here instead, or refused.
const NEEDED: [&str; 7] =
    ["write-read", "content-encoding", "range", "copy", "multipart", "list", "missing-key"];

/// What was found of one feature.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// Such as `create-only`.
    pub feature: &'static str,
    /// What it comes to.
    pub verdict: Verdict,
    /// What was seen, in words.
    pub detail: String,
}

/// What a feature comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The backend does it.
    Native,
    /// This service does it on its behalf, within one process.
    Gateway,
    /// Nobody does.
    No,
    /// It could not be tried.
    Unknown,
}

impl Verdict {
    fn support(self) -> Support {
        match self {
            Self::Native => Support::Native,
            Self::Gateway => Support::Gateway,
            Self::No | Self::Unknown => Support::No,
        }
    }

    fn of(native: bool, otherwise: Self) -> Self {
        if native { Self::Native } else { otherwise }
    }
}

/// Everything that one examination found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// Kind of backend.
    pub provider: Provider,
    /// Where it was asked; absent for Amazon's own.
    pub endpoint: Option<String>,
    /// Bucket.
    pub bucket: String,
    /// One for each feature, in the order in which they were tried.
    pub findings: Vec<Finding>,
    /// What follows for the service.
    pub capabilities: Capabilities,
    /// What whoever relies on them has to know, in words.
    pub notes: Vec<String>,
    /// Features without which the service does not do all that it should.
    pub problems: Vec<&'static str>,
    /// Whether every attempt came to an answer. Else another examination may find more.
    pub conclusive: bool,
    /// How far the backend's clock is from ours, in seconds; absent where it did not say.
    pub clock_skew: Option<i64>,
}

impl Report {
    /// Whether missing keys are refused with 403, as to whoever may not list, where all else works.
    pub fn hides_missing(&self) -> bool {
        self.verdict("write-read") == Verdict::Native && self.verdict("missing-key") == Verdict::No
    }

    /// The finding of a feature.
    pub fn verdict(&self, feature: &str) -> Verdict {
        let found = self.findings.iter().find(|finding| finding.feature == feature);
        found.map_or(Verdict::Unknown, |finding| finding.verdict)
    }
}

/// One examination under way.
struct Examination<'a> {
    s3: &'a S3,
    /// Prefix of its keys.
    folder: String,
    /// Keys that were used.
    named: Mutex<BTreeSet<String>>,
    /// Whether some call failed by no fault of its own.
    doubts: AtomicBool,
    findings: Vec<Finding>,
    clock_skew: Option<i64>,
}

impl S3 {
    /// Tries everything. Takes some seventy requests, those that clean up included.
    ///
    /// # Errors
    /// The very first write failed: there is nothing to be examined.
    pub async fn examine(&self) -> Result<Report, StoreError> {
        let mut examination = Examination::new(self);
        let tried = examination.run().await;
        examination.clean_up().await;
        tried?;
        let mut report = examination.report();
        // What could not be tried is not relied on, nor is it said to be missing.
        let support = |feature| match report.verdict(feature) {
            Verdict::Unknown if !report.conclusive => Support::Unknown,
            verdict => verdict.support(),
        };
        // A condition has to hold for every way in which an object can come to be.
        let everywhere = |feature| {
            let others = ["copy-conditions", "multipart-conditions"].map(support);
            others.into_iter().map(at_least_gateway).fold(support(feature), Support::and)
        };
        report.capabilities = Capabilities {
            create_only: everywhere("create-only"),
            replace_if_match: everywhere("if-match"),
            delete_if_match: support("delete-if-match"),
            atomic_move: Support::No,
            range: support("range"),
            tags: support("tags"),
            storage_class: support("storage-class"),
            encryption_aes256: support("encryption-aes256"),
            encryption_kms: support("encryption-kms"),
            versions: support("versions"),
            object_lock: support("object-lock"),
            presign: support("presigned-get"),
            presign_put: support("presigned-put"),
            unique_etags: Support::No,
            exact_times: Support::No,
        };
        report.notes = report.capabilities.notes();
        Ok(report)
    }

    /// Tries what reading shows, and writes nothing: of a backend that is only read.
    ///
    /// # Errors
    /// It cannot be read: there is nothing to be examined.
    pub async fn examine_reading(&self) -> Result<Report, StoreError> {
        let mut examination = Examination::new(self);
        examination.run_reading().await?;
        let mut report = examination.report();
        let object_lock = report.verdict("object-lock");
        let can = &mut report.capabilities;
        if object_lock != Verdict::Unknown {
            can.object_lock = object_lock.support();
        }
        // Nothing is written there, so nobody will ever find out.
        for unknown in [&mut can.storage_class, &mut can.encryption_aes256, &mut can.encryption_kms]
        {
            *unknown = if *unknown == Support::Unknown { Support::No } else { *unknown };
        }
        Ok(report)
    }
}

/// A call that a backend has not cannot break a condition.
fn at_least_gateway(support: Support) -> Support {
    if support == Support::No { Support::Gateway } else { support }
}

impl<'a> Examination<'a> {
    fn new(s3: &'a S3) -> Self {
        Self {
            s3,
            folder: format!("{RESERVED}/doctor/{}", Uuid::new_v4()),
            named: Mutex::default(),
            doubts: AtomicBool::new(false),
            findings: Vec::new(),
            clock_skew: None,
        }
    }

    /// What was found, with the capabilities that are assumed so far.
    fn report(self) -> Report {
        let mut report = Report {
            provider: self.s3.shared.options.provider,
            endpoint: self.s3.shared.options.endpoint.clone(),
            bucket: self.s3.shared.options.bucket.clone(),
            findings: self.findings,
            capabilities: self.s3.can(),
            notes: Vec::new(),
            problems: Vec::new(),
            conclusive: !self.doubts.into_inner(),
            clock_skew: self.clock_skew,
        };
        let is_missing = |feature: &&str| report.verdict(feature) == Verdict::No;
        report.problems = NEEDED.into_iter().filter(is_missing).collect();
        report
    }

    async fn run(&mut self) -> Result<(), StoreError> {
        self.write().await?;
        self.versions().await;
        self.object_lock().await;
        self.checksums().await;
        self.conditions().await;
        self.conditional_delete().await;
        self.tags().await;
        self.storage_class().await;
        self.encryption().await;
        self.encoding().await;
        self.range().await;
        self.copy().await;
        self.conditional_copy().await;
        self.multipart().await;
        self.conditional_multipart().await;
        self.listing().await;
        self.batch_delete().await;
        self.presigned().await;
        Ok(())
    }

    fn key(&self, name: &str) -> String {
        let key = format!("{}/{name}", self.folder);
        self.named.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        key
    }

    fn named(&self) -> Vec<String> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn note(&mut self, feature: &'static str, verdict: Verdict, detail: impl Into<String>) {
        self.findings.push(Finding { feature, verdict, detail: detail.into() });
    }

    fn saw_date(&mut self, date: Option<&str>) {
        let Some(theirs) = date.and_then(|text| httpdate::parse_http_date(text).ok()) else {
            return;
        };
        let seconds = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
        let ours = SystemTime::now();
        self.clock_skew = Some(match theirs.duration_since(ours) {
            Ok(ahead) => seconds(ahead),
            Err(behind) => -seconds(behind.duration()),
        });
    }
}
