//! The calls of a history, and what is made of their answers.

use std::collections::BTreeSet;

use proof_storage::backend::Backend as _;
use proof_storage::model::{Class, ErrorKind, PutMode, StoreError, Stored, Version};
use proof_storage::pool::Pool;

use super::super::ring::{key, list, put, read, tagged};
use super::expected::{Call, Heard, Weather, What};
use super::{KEYS, Trial};

impl Trial {
    pub async fn create(&mut self, name: &str) -> Result<(), String> {
        let (replica, value) = (self.any_replica(), self.new_value());
        let weather = self.weather();
        let result = put(self.pool(replica), name, &value, PutMode::Create).await;
        self.wrote(replica, name, What::Create(value), result.map(Some), &weather).await
    }

    pub async fn replace(&mut self, name: &str) -> Result<(), String> {
        let (replica, value) = (self.any_replica(), self.new_value());
        let weather = self.weather();
        let Ok((old, etag)) = tagged(self.pool(replica), name).await else { return Ok(()) };
        let result = put(self.pool(replica), name, &value, PutMode::Replace(etag)).await;
        let what = What::Replace { old: Some(old), new: value };
        self.wrote(replica, name, what, result.map(Some), &weather).await
    }

    pub async fn delete(&mut self, name: &str) -> Result<(), String> {
        let replica = self.any_replica();
        let weather = self.weather();
        let result = self.pool(replica).delete(&key(name), None).await;
        self.wrote(replica, name, What::Delete, result.map(|_| None), &weather).await
    }

    pub async fn delete_some(&mut self) -> Result<(), String> {
        let replica = self.any_replica();
        let count = self.random.u64(1..4);
        let names: BTreeSet<String> =
            (0..count).map(|_| format!("k{}", self.random.u64(0..KEYS))).collect();
        let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
        let weather = self.weather();
        let results = self.pool(replica).delete_many(&keys).await;
        for (name, result) in names.iter().zip(results) {
            self.wrote(replica, name, What::Delete, result.map(|_| None), &weather).await?;
        }
        Ok(())
    }

    pub async fn get(&mut self, name: &str) -> Result<(), String> {
        let replica = self.any_replica();
        self.get_by(replica, name).await
    }

    pub async fn get_by(&mut self, replica: usize, name: &str) -> Result<(), String> {
        self.tally.reads += 1;
        let weather = self.weather();
        let result = read(self.pool(replica), name).await;
        let mut kept = Vec::new();
        for member in 0..self.course.members {
            kept.push(self.ring.kept(member, name).await);
        }
        self.note(format!("{replica}: get {name}: {result:?}; the members have {kept:?}"));
        let seen = match result {
            Ok(value) => Some(value),
            Err(ErrorKind::NotFound) => None,
            Err(_) if self.is_troubled() => return Ok(()),
            Err(kind) => return Err(format!("a read fails though every member is well: {kind:?}")),
        };
        self.heard(replica, name, What::Look, Heard::Seen(seen), &weather)
    }

    pub async fn list(&mut self) -> Result<(), String> {
        let replica = self.any_replica();
        self.list_by(replica).await
    }

    pub async fn list_by(&mut self, replica: usize) -> Result<(), String> {
        let weather = self.weather();
        let names = match list(self.pool(replica)).await {
            Ok(names) => names,
            Err(_) if self.is_troubled() => return Ok(()),
            Err(kind) => return Err(format!("a list fails though every member is well: {kind:?}")),
        };
        self.note(format!("{replica}: list: {names:?}"));
        if !names.is_sorted() || names.iter().collect::<BTreeSet<_>>().len() != names.len() {
            return Err(format!("a list is out of order or has doubles: {names:?}"));
        }
        for name in (0..KEYS).map(|number| format!("k{number}")) {
            let heard = Heard::Listed(names.contains(&name));
            self.heard(replica, &name, What::Look, heard, &weather)?;
        }
        Ok(())
    }

    pub fn pool(&self, replica: usize) -> &Pool {
        &self.replicas[replica].pool
    }

    pub fn new_value(&mut self) -> String {
        self.written += 1;
        format!("value {}", self.written)
    }

    /// Takes a write's answer to the reference.
    async fn wrote(
        &mut self,
        replica: usize,
        name: &str,
        what: What,
        result: Result<Option<Stored>, StoreError>,
        weather: &Weather,
    ) -> Result<(), String> {
        let call = self.answered(replica, name, what, result).await;
        if call.heard == Heard::Nothing && !self.is_troubled() {
            return Err(format!("{:?} fails though every member is well", call.what));
        }
        self.take(name, &[call], weather)
    }

    /// What is made of a write's answer.
    pub async fn answered(
        &mut self,
        replica: usize,
        name: &str,
        what: What,
        result: Result<Option<Stored>, StoreError>,
    ) -> Call {
        let heard = match &result {
            Ok(_) => Heard::Done,
            Err(error) => match error.class() {
                Class::Unknown => Heard::Maybe,
                Class::Answer if error.kind() != ErrorKind::AccessDenied => Heard::Refused,
                Class::Answer | Class::Failed => Heard::Nothing,
            },
        };
        self.tally.acknowledged += u64::from(heard == Heard::Done);
        self.tally.maybes += u64::from(heard == Heard::Maybe);
        let version: Option<Version> = result
            .as_ref()
            .ok()
            .and_then(|stored| stored.as_ref()?.meta.etag.as_str().parse().ok());
        let said = result.as_ref().map(|_| version.map(|v| v.to_string()).unwrap_or_default());
        let said = said.map_err(StoreError::kind);
        self.note(format!("{replica}: {name}: {what:?}: {said:?}"));
        if heard == Heard::Nothing || heard == Heard::Maybe {
            self.tally.refused += 1;
        }
        let overtaken_by = match heard {
            Heard::Done => self.overtaken(replica, name, version).await,
            _ => BTreeSet::new(),
        };
        self.tally.overtaken += u64::from(!overtaken_by.is_empty());
        let process = self.replicas[replica].process;
        Call { replica, process, what, heard, overtaken_by }
    }

    /// What another replica did before a call that is over, and has a version above it: replicas'
    /// clocks are apart until they have read each other's marks.
    async fn overtaken(
        &self,
        replica: usize,
        name: &str,
        written: Option<Version>,
    ) -> BTreeSet<Option<String>> {
        let is_others = |version: &Version| self.machines[version.writer as usize] != replica;
        let tombstones = self.ring.tombstones(name).await;
        if let Some(written) = written {
            let above = tombstones.iter().any(|version| *version > written && is_others(version));
            return above.then_some(None).into_iter().collect();
        }
        let ours = tombstones.into_iter().filter(|version| !is_others(version)).max();
        let copies = self.ring.copies(name).await.into_iter();
        let above = copies.filter(|(version, _)| is_others(version) && ours < Some(*version));
        // Without a tombstone all members confirmed.
        above.filter(|_| ours.is_some()).map(|(_, value)| Some(value)).collect()
    }

    fn heard(
        &mut self,
        replica: usize,
        name: &str,
        what: What,
        heard: Heard,
        weather: &Weather,
    ) -> Result<(), String> {
        let process = self.replicas[replica].process;
        let call = Call { replica, process, what, heard, overtaken_by: BTreeSet::new() };
        self.take(name, &[call], weather)
    }

    pub fn take(&mut self, name: &str, calls: &[Call], weather: &Weather) -> Result<(), String> {
        let after = self.expected(name).after(calls, weather);
        let after = after.map_err(|error| format!("{name}: {error}"))?;
        let is_new = after.is_conflict() && !self.expected(name).is_conflict();
        self.tally.conflicts += u64::from(is_new);
        *self.expected(name) = after;
        Ok(())
    }
}
