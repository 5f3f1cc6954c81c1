//! How members are compared, and what is told of it.

/// How to compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconcile {
    /// Only report.
    pub dry_run: bool,
    /// Read every copy and compare its bytes with their digest.
    pub verify_bytes: bool,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ReconcileReport {
    /// Names that were compared.
    pub compared: u64,
    /// Copies that a member should have and had not.
    pub missing: u64,
    /// Copies at members where they do not belong.
    pub extra: u64,
    /// Copies of another version than the one that counts.
    pub different: u64,
    /// Copies with wrong bytes.
    pub corrupt: u64,
    /// Copies that were put aside.
    pub quarantined: u64,
    /// Names that are as they should be now and were not.
    pub repaired: u64,
    /// Names that could not be brought into order.
    pub failed: u64,
    /// Names that only a member has which may have been set back to an earlier state, and that are too
    /// new to tell whether they were deleted since: a later comparison does.
    pub postponed: u64,
    /// Members that could not be compared.
    pub unreachable: Vec<String>,
}

/// What one name's comparison adds to the report.
#[derive(Debug, Default)]
pub(super) struct Finding {
    pub(super) missing: u64,
    pub(super) extra: u64,
    pub(super) different: u64,
    pub(super) corrupt: u64,
    pub(super) quarantined: u64,
    pub(super) repaired: bool,
    pub(super) failed: bool,
    pub(super) postponed: bool,
}

impl ReconcileReport {
    pub(super) fn add(&mut self, finding: Finding) {
        self.compared += 1;
        self.missing += finding.missing;
        self.extra += finding.extra;
        self.different += finding.different;
        self.corrupt += finding.corrupt;
        self.quarantined += finding.quarantined;
        self.repaired += u64::from(finding.repaired);
        self.failed += u64::from(finding.failed);
        self.postponed += u64::from(finding.postponed);
    }
}
