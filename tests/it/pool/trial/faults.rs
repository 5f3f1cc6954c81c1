//! What goes wrong in a history, and what mends it.

use std::time::Duration;

use proof_storage::backend::faulty::{Fault, Operation};
use proof_storage::model::{ErrorKind, PoolMode};
use proof_storage::pool::Reconcile;

use super::super::ring::RECORDS;
use super::Trial;

impl Trial {
    pub fn darken(&mut self) {
        let member = self.any_member();
        if self.dark.insert(member) {
            self.tally.outages += 1;
            self.ring.darken(member);
            self.note(format!("m{member} goes dark"));
        }
    }

    pub fn heal(&mut self) {
        let member = self.any_member();
        if self.dark.remove(&member) {
            self.ring.heal(member);
            self.note(format!("m{member} is back"));
        }
    }

    pub fn hold(&mut self) {
        let member = self.any_member();
        self.holding.insert(member);
        self.ring.members[member].hold(true);
        self.note(format!("m{member} holds writes back"));
    }

    pub async fn land(&mut self) {
        for member in std::mem::take(&mut self.holding) {
            self.ring.members[member].hold(false);
            let landed = self.ring.members[member].land().await;
            self.tally.late += landed as u64;
            self.note(format!("m{member} did {landed} writes late"));
        }
    }

    pub fn lose_an_answer(&mut self) {
        let member = self.any_member();
        if !self.dark.contains(&member) {
            let operation = *self
                .random
                .choice([Operation::Put, Operation::Delete].iter())
                .unwrap_or(&Operation::Put);
            let fault = Fault::Lose(ErrorKind::Indeterminate);
            let lost = self.lost_answers(member);
            *self.losing.entry(member).or_insert(lost) += 1;
            self.ring.members[member].inner().script(operation, [fault]);
            self.note(format!("m{member} will lose the answer to a {operation:?}"));
        }
    }

    fn lost_answers(&self, member: usize) -> usize {
        let injected = self.ring.members[member].inner().injected();
        injected.iter().filter(|(_, fault)| matches!(fault, Fault::Lose(_))).count()
    }

    /// Members that have lost what they were to lose are well again.
    pub fn forget_lost_answers(&mut self) {
        let mut losing = std::mem::take(&mut self.losing);
        losing.retain(|&member, until| self.lost_answers(member) < *until);
        self.losing = losing;
    }

    /// Only what another member has too, and keeps: else the trial itself would lose the proof.
    pub async fn corrupt(&mut self, name: &str) {
        let member = self.any_member();
        if self.course.mode == PoolMode::Fallback && member == 0 {
            return;
        }
        let Some(right) = self.ring.kept(member, name).await else { return };
        for other in (0..self.course.members).filter(|other| *other != member) {
            let is_right = !self.corrupt.contains(&(other, name.to_owned()));
            if is_right && self.ring.kept(other, name).await.as_ref() == Some(&right) {
                self.ring.corrupt(member, name).await;
                self.corrupt.insert((member, name.to_owned()));
                self.note(format!("m{member} has wrong bytes under {name}"));
                return;
            }
        }
    }

    /// Not while a dark member alone keeps what a new replica would have to know.
    pub async fn restart(&mut self) {
        for &member in &self.dark {
            let records = self.ring.names(member, RECORDS).await;
            if records.iter().any(|name| name.contains("/repair/")) {
                return;
            }
        }
        // What was in doubt was known to the old process only.
        self.land().await;
        let replica = self.any_replica();
        self.replicas[replica] = self.start(replica);
        self.tally.restarts += 1;
        self.note(format!("restart of replica {replica}"));
        self.beat(replica).await;
    }

    pub async fn repair(&mut self) {
        let replica = self.any_replica();
        self.settle(replica).await;
        if self.dark.is_empty() && self.holding.is_empty() && !self.corrupt.is_empty() {
            let how = Reconcile { verify_bytes: true, dry_run: false };
            let report = self.replicas[replica].pool.reconcile(how).await;
            if report.is_ok_and(|report| report.failed == 0) {
                self.corrupt.clear();
            }
        }
        self.note(format!("repair by replica {replica}"));
    }

    /// Lets one replica repair what it can; the others go on meanwhile.
    pub async fn settle(&mut self, replica: usize) {
        for _ in 0..15 {
            let is_left = self.replicas[replica].pool.round().await;
            self.has_read(replica);
            if !is_left {
                break;
            }
            // Another replica's lease may have to run out.
            self.pass(Duration::from_secs(1)).await;
        }
        let is_done = self.replicas[replica].pool.status().repairs_pending == 0;
        for other in (0..self.replicas.len()).filter(|other| *other != replica) {
            self.beat(other).await;
        }
        // A tombstone that landed late is known by now, where it can be read.
        if is_done && self.holding.is_empty() && self.dark.is_empty() {
            self.expected.values_mut().for_each(super::Expected::repaired);
        }
    }

    /// The wall clocks are set, while the pool can tell its members so.
    pub async fn jump(&mut self) {
        if self.dark.is_empty() && self.holding.is_empty() {
            for replica in 0..self.replicas.len() {
                self.beat(replica).await;
            }
            let millis = self.random.i64(-3_600_000..600_000);
            self.ring.jump(millis);
            self.note(format!("the clocks jump by {millis} ms"));
            for replica in (0..self.replicas.len()).chain(0..self.replicas.len()) {
                self.beat(replica).await;
            }
        }
    }
}
