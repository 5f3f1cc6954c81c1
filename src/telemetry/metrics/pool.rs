//! What a pool counts by itself, set at each scrape.

use std::sync::Arc;
use std::time::Duration;

use super::super::labels::{Label, Operation, Outcome};
use super::super::registry::Register;
use super::super::series;
use super::Metrics;
use crate::model::ErrorKind;

/// Why another member takes a call over, whether or not it has happened yet: a rate has to see the
/// first time.
const USUAL_CAUSES: [ErrorKind; 9] = [
    ErrorKind::Failed,
    ErrorKind::Misconfigured,
    ErrorKind::AccessDenied,
    ErrorKind::Unavailable,
    ErrorKind::Timeout,
    ErrorKind::Indeterminate,
    ErrorKind::QuotaExceeded,
    ErrorKind::Corrupt,
    ErrorKind::NotFound,
];

/// How a pool stands. What is counted is counted since the process began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolFigures {
    /// Each member, in the order of the configuration.
    pub members: Vec<MemberFigures>,
    /// Age of the oldest copy or delete that a member misses; zero where none does.
    pub oldest_repair: Duration,
    /// Keys that a read or a comparison found otherwise than they should be at some member.
    pub divergent: u64,
    /// Keys under which two versions were written that exclude each other.
    pub conflicts: u64,
    /// Copies with wrong bytes that were put aside.
    pub quarantined: u64,
    /// Reads that a second member was asked for because the first was slow.
    pub hedges_sent: u64,
    /// Those that the second member answered first.
    pub hedges_won: u64,
    /// Calls that another member took over, by what the first one's failure was.
    pub failovers: Vec<(ErrorKind, u64)>,
    /// Copies that repair made.
    pub repaired_copies: u64,
    /// Deletes that repair made.
    pub repaired_deletes: u64,
}

/// How one member of a pool stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberFigures {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Copies and deletes that it misses.
    pub repairs_pending: u64,
    /// Whether it is passed over for writes because its quota is used up.
    pub full: bool,
    /// Whether it is known to have all that belongs to it, but for what is pending.
    pub complete: bool,
}

impl Metrics {
    /// Sets how the pool stands; to be called before [`Metrics::render`].
    pub fn pool(&self, figures: &PoolFigures) {
        let register = Register(&self.0.recorder);
        for member in &figures.members {
            let backend = [("backend", &*member.name)];
            let pending = register.gauge(&series::POOL_REPAIRS_PENDING, &backend);
            pending.set(member.repairs_pending as f64);
            let flag = |is: bool| f64::from(u8::from(is));
            register.gauge(&series::POOL_MEMBER_FULL, &backend).set(flag(member.full));
            register.gauge(&series::POOL_MEMBER_COMPLETE, &backend).set(flag(member.complete));
        }
        let oldest = register.gauge(&series::POOL_OLDEST_REPAIR, &[]);
        oldest.set(figures.oldest_repair.as_secs_f64());
        register.gauge(&series::POOL_DIVERGENT, &[]).set(figures.divergent as f64);
        register.gauge(&series::POOL_CONFLICTS, &[]).set(figures.conflicts as f64);
        register.gauge(&series::POOL_QUARANTINED, &[]).set(figures.quarantined as f64);
        register.counter(&series::POOL_HEDGES, &[]).absolute(figures.hedges_sent);
        register.counter(&series::POOL_HEDGES_WON, &[]).absolute(figures.hedges_won);
        let never = USUAL_CAUSES.into_iter().map(|cause| (cause, 0));
        for (cause, times) in never.chain(figures.failovers.iter().copied()) {
            let cause = [("cause", Outcome::from(cause).as_str())];
            register.counter(&series::POOL_FAILOVERS, &cause).absolute(times);
        }
        let repaired = [
            (Operation::Copy, figures.repaired_copies),
            (Operation::Delete, figures.repaired_deletes),
        ];
        for (operation, times) in repaired {
            let operation = [("operation", operation.as_str())];
            register.counter(&series::POOL_REPAIRED, &operation).absolute(times);
        }
    }
}
