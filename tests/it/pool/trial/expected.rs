//! The reference: what a key may hold, by all that callers were told.
//!
//! One value after an acknowledged write or delete; several after a call whose outcome nobody knows,
//! until one of them is seen. A call through one replica that happens while a member is away may be
//! unknown to another one until it has read the lines: until then that one may show what was there
//! before. Calls that run at the same time count in whichever order explains what was heard.

use std::collections::{BTreeMap, BTreeSet};

use proof_storage::model::PoolMode;

/// What a read gives; `None` is "not found".
pub type Value = Option<String>;

/// Nobody's process.
const NOBODY: u32 = u32::MAX;

/// A call about one key, and what its caller heard.
#[derive(Clone, Debug)]
pub struct Call {
    /// Place of the replica, and number of the process that it was then.
    pub replica: usize,
    pub process: u32,
    pub what: What,
    pub heard: Heard,
    /// By versions, another replica's call that was over counts as the later one: of a write a
    /// delete, of a delete writes of these values.
    pub overtaken_by: BTreeSet<Value>,
}

#[derive(Clone, Debug)]
pub enum What {
    Create(String),
    Replace { old: Value, new: String },
    Delete,
    Look,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is done.
    Done,
    /// Another state is there than the one that was asked for.
    Refused,
    /// It may be done.
    Maybe,
    /// It is not done, or nothing can be told.
    Nothing,
    Seen(Value),
    Listed(bool),
}

impl Call {
    fn written(&self) -> Value {
        match &self.what {
            What::Create(new) | What::Replace { new, .. } => Some(new.clone()),
            What::Delete | What::Look => None,
        }
    }
}

/// How the members fared during a call.
#[derive(Clone, Debug)]
pub struct Weather {
    pub mode: PoolMode,
    pub replicas: usize,
    /// Those that answer and take writes.
    pub well: BTreeSet<usize>,
    /// Those that do not, or may lose an answer.
    pub away: BTreeSet<usize>,
    /// Whether writes may still land.
    pub is_holding: bool,
}

impl Weather {
    /// Whether a member is away that may have any key alone.
    fn is_home_away(&self) -> bool {
        match self.mode {
            PoolMode::Fallback => self.away.contains(&0),
            PoolMode::Mirror => !self.away.is_empty(),
        }
    }
}

/// What a replica may not know of a key that was written through another one.
#[derive(Clone, Debug, Default)]
struct Unread {
    /// What it may show.
    older: BTreeSet<Value>,
    /// Members that may keep the lines.
    on: BTreeSet<usize>,
    /// Whether a member was away, so that the members alone do not tell.
    is_hidden: bool,
}

/// What a read of a key may give.
#[derive(Clone, Debug)]
pub struct Expected {
    values: BTreeSet<Value>,
    /// Of calls that failed and may be done, by process; and whether they may yet come to be: until
    /// a repair with everybody well, what is seen is then not the last word.
    doubts: BTreeMap<(Value, u32), bool>,
    /// Two creates were acknowledged: either may be served until the key is deleted.
    is_conflict: bool,
    /// Written while a member was away, and not repaired since.
    is_unsettled: bool,
    unread: BTreeMap<usize, Unread>,
}

impl Default for Expected {
    fn default() -> Self {
        Self {
            values: [None].into(),
            doubts: BTreeMap::new(),
            is_conflict: false,
            is_unsettled: false,
            unread: BTreeMap::new(),
        }
    }
}

impl Expected {
    /// What is expected after calls that ran at the same time.
    ///
    /// # Errors
    /// No order of them explains what was heard.
    pub fn after(&self, calls: &[Call], weather: &Weather) -> Result<Self, String> {
        let Some((first, _)) = calls.split_first() else { return Ok(self.clone()) };
        if calls.len() == 1 {
            return self.step(first, weather);
        }
        let (mut merged, mut why): (Option<Self>, _) = (None, String::new());
        for index in 0..calls.len() {
            let mut rest = calls.to_vec();
            let call = rest.remove(index);
            match self.step(&call, weather).and_then(|next| next.after(&rest, weather)) {
                Ok(end) => merged = Some(merged.map_or(end.clone(), |other| other.or(end))),
                Err(error) => why = error,
            }
        }
        merged.ok_or(why)
    }

    /// Whether two creates were acknowledged of which one could not know of the other.
    pub fn is_conflict(&self) -> bool {
        self.is_conflict
    }

    /// A replica has read the lines of all members but these.
    pub fn read_by(&mut self, replica: usize, dark: &BTreeSet<usize>) {
        if self.unread.get(&replica).is_some_and(|unread| unread.on.is_disjoint(dark)) {
            self.unread.remove(&replica);
        }
    }

    /// Everything was repaired, with everybody well and nothing held back.
    pub fn repaired(&mut self) {
        self.values.extend(self.landing());
        self.doubts.clear();
        self.is_unsettled = false;
    }

    /// What may be where either may.
    fn or(mut self, other: Self) -> Self {
        self.values.extend(other.values);
        for (doubt, may_land) in other.doubts {
            *self.doubts.entry(doubt).or_default() |= may_land;
        }
        self.is_conflict |= other.is_conflict;
        self.is_unsettled |= other.is_unsettled;
        for (replica, theirs) in other.unread {
            let unread = self.unread.entry(replica).or_default();
            unread.older.extend(theirs.older);
            unread.on.extend(theirs.on);
            unread.is_hidden |= theirs.is_hidden;
        }
        self
    }

    fn landing(&self) -> BTreeSet<Value> {
        let lands = self.doubts.iter().filter(|(_, may_land)| **may_land);
        lands.map(|((value, _), _)| value.clone()).collect()
    }

    fn step(&self, call: &Call, weather: &Weather) -> Result<Self, String> {
        let mut next = self.clone();
        match (&call.what, &call.heard) {
            (_, Heard::Nothing) => return Ok(next),
            (What::Look, Heard::Seen(seen)) => return next.look(call, |value| value == seen),
            (What::Look, Heard::Listed(is_there)) => {
                return next.look(call, |value| value.is_some() == *is_there);
            }
            (What::Create(_), Heard::Refused) => {
                let mut next = next.look(call, Option::is_some)?;
                // Of an attempt before the refusal an answer may be lost: that it does not count is
                // written down.
                if !weather.away.is_empty() {
                    next.hide([call.written()].into(), call, weather);
                }
                return Ok(next);
            }
            (What::Replace { old, .. }, Heard::Refused) => {
                let is_known = !self.is_unsettled && !self.unread.contains_key(&call.replica);
                if is_known && weather.away.is_empty() && !self.is_conflict {
                    return next.look(call, |value| value != old);
                }
                return Ok(next);
            }
            (What::Create(new), heard) => next.create(call, new, heard, weather)?,
            (What::Replace { old, new }, heard) => next.replace(call, old, new, heard)?,
            (What::Delete, heard) => next.write(call, None, heard),
            (What::Look, _) => return Err(format!("no answer to a look: {:?}", call.heard)),
        }
        let is_hidden = !weather.away.is_empty() || self.is_unsettled;
        next.is_unsettled |= is_hidden;
        if is_hidden {
            next.hide(self.values.iter().filter(|v| v.is_some()).cloned().collect(), call, weather);
        } else if matches!(call.what, What::Delete) {
            next.keep_unread(call, weather);
        }
        if call.heard == Heard::Maybe {
            // Its record may stand where nobody can read it now; and what it did not get at may land
            // where it did.
            let may_land = !weather.away.is_empty();
            let before = self.values.iter().filter(|_| weather.is_holding).cloned();
            for value in before.chain([call.written()]) {
                *next.doubts.entry((value, call.process)).or_default() |= may_land;
            }
        }
        Ok(next)
    }

    /// Something was seen through a replica, of which this is known.
    fn look(mut self, call: &Call, is_right: impl Fn(&Value) -> bool) -> Result<Self, String> {
        let landing = self.landing();
        let older = self.unread.get(&call.replica).map(|unread| unread.older.clone());
        let is_older = older.as_ref().is_some_and(|older| older.iter().any(&is_right));
        if is_older {
            return Ok(self);
        }
        self.values.extend(landing.iter().cloned());
        if !self.values.iter().any(&is_right) {
            return Err(format!(
                "{:?} by replica {}, and not {:?}",
                call.heard, call.replica, self
            ));
        }
        if !self.is_conflict {
            self.values.retain(|value| is_right(value));
            let values = &self.values;
            self.doubts.retain(|(value, _), lands| *lands || values.contains(value));
        }
        Ok(self)
    }

    fn create(
        &mut self,
        call: &Call,
        new: &str,
        heard: &Heard,
        weather: &Weather,
    ) -> Result<(), String> {
        let unread = self.unread.get(&call.replica);
        let is_hidden = unread.is_some_and(|unread| unread.is_hidden);
        // Where the home is away, nobody could know what it has; nor what another member took
        // while it was, before the lines are read.
        let may_meet = weather.is_home_away() || (is_hidden && weather.mode == PoolMode::Fallback);
        let is_free = self.values.contains(&None) || self.landing().contains(&None);
        if *heard == Heard::Maybe {
            self.values.insert(Some(new.to_owned()));
            self.is_conflict |= may_meet && !is_free;
            return Ok(());
        }
        if !is_free && !may_meet {
            return Err(format!("created by replica {} over {self:?}", call.replica));
        }
        // What this process is in doubt about itself does not count beside its own create.
        let is_ours = |value: &Value| self.doubts.contains_key(&(value.clone(), call.process));
        let met: BTreeSet<Value> = self
            .values
            .iter()
            .chain(self.doubts.keys().map(|(value, _)| value))
            .filter(|value| may_meet && value.is_some() && !(is_free && is_ours(value)))
            .cloned()
            .collect();
        self.write(call, Some(new.to_owned()), heard);
        self.is_conflict = !met.is_empty();
        self.values.extend(met);
        Ok(())
    }

    fn replace(
        &mut self,
        call: &Call,
        old: &Value,
        new: &str,
        heard: &Heard,
    ) -> Result<(), String> {
        let is_there = self.values.contains(old) || self.landing().contains(old);
        let is_older =
            self.unread.get(&call.replica).is_some_and(|unread| unread.older.contains(old));
        if !is_there && !is_older {
            return match heard {
                Heard::Maybe => Ok(()),
                _ => Err(format!("{old:?} was replaced, where there is {self:?}")),
            };
        }
        if is_there {
            self.write(call, Some(new.to_owned()), heard);
        } else {
            // Both replicas could not know of each other's write.
            self.values.insert(Some(new.to_owned()));
            self.is_conflict = true;
        }
        Ok(())
    }

    /// A write that takes the place of whatever was there.
    fn write(&mut self, call: &Call, value: Value, heard: &Heard) {
        if *heard == Heard::Maybe {
            self.values.insert(value);
            return;
        }
        self.values = [value.clone()].into();
        self.is_conflict = false;
        self.doubts.retain(|(_, process), lands| *process != call.process && *lands);
        if let Some(unread) = self.unread.get_mut(&call.replica)
            && !matches!(call.what, What::Create(_))
        {
            unread.older.clear();
        }
        if !call.overtaken_by.is_empty() {
            // Which it is comes out when all is repaired.
            for value in call.overtaken_by.iter().cloned().chain([value]) {
                self.values.insert(value.clone());
                self.doubts.insert((value, NOBODY), true);
            }
        }
    }

    /// Other replicas may not know of a call yet, and show what does not count.
    fn hide(&mut self, values: BTreeSet<Value>, call: &Call, weather: &Weather) {
        for unread in self.keep_unread(call, weather) {
            unread.is_hidden = true;
            unread.older.extend(values.iter().cloned());
        }
    }

    /// Other replicas have lines to read.
    fn keep_unread(&mut self, call: &Call, weather: &Weather) -> Vec<&mut Unread> {
        for replica in (0..weather.replicas).filter(|other| *other != call.replica) {
            self.unread.entry(replica).or_default().on.extend(&weather.well);
        }
        let others = self.unread.iter_mut().filter(|(replica, _)| **replica != call.replica);
        others.map(|(_, unread)| unread).collect()
    }
}
