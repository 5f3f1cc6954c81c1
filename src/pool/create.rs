//! Writing a proof for a key at which nothing is known to be: the usual PUT.
//!
//! *Fallback*: one call to the home. Where it fails, the next member that can takes the proof within
//! the same request, and a line says that the home misses it.
//!
//! *Mirror*: all homes at once. The first in order that gives an answer decides between racing
//! creates; who lost there takes back what it wrote elsewhere. Members after the deciding one that
//! are slower than they use to be are not waited for: a line names them.

use std::time::Duration;

use futures_util::future::join;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::core::passes_on;
use super::errands::Racer;
use super::line::{Line, What};
use super::parts::Parts;
use super::policy::Planted;
use super::state::version_of;
use crate::model::{
    Attributes, Class, ErrorKind, ObjectKey, Payload, PoolMode, PutMode, Stamp, StoreError, Stored,
    Version,
};

/// Shortest wait for a member that is slower than the others.
const PATIENCE: Duration = Duration::from_millis(20);

/// A write that is the same wherever it goes.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) key: ObjectKey,
    pub(super) payload: Payload,
    /// With the pool's stamp.
    pub(super) attributes: Attributes,
}

impl Write {
    pub(super) fn version(&self) -> Version {
        self.attributes.stamp.map_or(Version { millis: 0, counter: 0, writer: 0 }, |s| s.version)
    }
}

/// What a member made of a write.
type Outcome = Result<Stored, StoreError>;

/// Of all homes in order; absent where one has not answered.
type Outcomes = Vec<Option<Outcome>>;

/// Members that were asked in vain, and what they said.
pub(super) type Tried = Vec<(usize, StoreError)>;

/// How far a write to all homes has come.
enum Decision {
    /// The deciding member has not answered.
    Open,
    /// It took the write.
    Won,
    /// It refused it.
    Lost(StoreError),
    /// Nobody decides.
    None,
}

impl Parts {
    /// Stores an object, see the module.
    pub(super) async fn put(
        &self,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let is_plain = mode == PutMode::Create && !self.view.is_touched(key);
        if !is_plain {
            let (parts, key) = (self.clone(), key.clone());
            let call = async move { parts.rewrite(key, payload, attributes, mode).await };
            return self.to_the_end(call).await;
        }
        let stamp = Some(Stamp { version: self.clock.next(), create: true });
        let write =
            Write { key: key.clone(), payload, attributes: Attributes { stamp, ..attributes } };
        match self.policy.mode {
            PoolMode::Fallback => self.create_at_home(write).await,
            PoolMode::Mirror => {
                let parts = self.clone();
                self.to_the_end(async move { parts.create_everywhere(write).await }).await
            }
        }
    }

    /// Sends a write to one member.
    pub(super) async fn put_at(
        &self,
        place: usize,
        write: &Write,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let member = &self.members[place];
        let started = Instant::now();
        let Write { key, payload, attributes } = write;
        let result = member.backend.put(key, payload.clone(), attributes.clone(), mode).await;
        member.note(started, &result);
        if result.is_ok() {
            member.wrote(payload.len());
        }
        result
    }

    async fn create_at_home(&self, write: Write) -> Result<Stored, StoreError> {
        let Some(&home) = self.homes().first() else {
            return Err(self.no_member("takes writes"));
        };
        let error = if self.members[home].is_full() {
            self.full(home)
        } else {
            match self.put_at(home, &write, PutMode::Create).await {
                Ok(stored) => return Ok(self.outward_stored(home, stored, Some(false))),
                Err(error) if passes_on(&error) => error,
                Err(error) => return Err(error),
            }
        };
        self.counters.failed_over(error.kind());
        let parts = self.clone();
        let call = async move { parts.take_over(write, vec![(home, error)]).await };
        self.to_the_end(call).await
    }

    /// The first of the other members that can takes what the home did not.
    async fn take_over(self, write: Write, mut tried: Tried) -> Result<Stored, StoreError> {
        let _turn = self.lock(&write.key).await;
        for place in 0..self.members.len() {
            let member = &self.members[place];
            if tried.iter().any(|(other, _)| *other == place) || !member.role.takes_writes() {
                continue;
            }
            if member.is_full() {
                tried.push((place, self.full(place)));
                continue;
            }
            let missing = self.names(tried.iter().map(|(place, _)| *place));
            let line = self.copy_line(&write.key, write.version(), &[place], missing);
            let (put, noted) =
                join(self.put_at(place, &write, PutMode::Create), self.write_down(vec![line]))
                    .await;
            match put {
                Ok(stored) => {
                    noted.map_err(|error| self.not_written_down(error))?;
                    return Ok(self.outward_stored(place, stored, Some(false)));
                }
                Err(error) if passes_on(&error) => tried.push((place, error)),
                Err(error) => {
                    self.doubt(&write, &tried);
                    // What is there is about to be confirmed to somebody: it must not be forgotten
                    // that the home misses it.
                    if error.kind() == ErrorKind::AlreadyExists {
                        self.note_missing(&write.key, place, &tried).await?;
                    }
                    return Err(error);
                }
            }
        }
        self.doubt(&write, &tried);
        let errors: Vec<_> = tried.into_iter().map(|(_, error)| error).collect();
        Err(self.failure(&errors))
    }

    /// Writes down that what one member has belongs to others too.
    async fn note_missing(
        &self,
        key: &ObjectKey,
        has: usize,
        tried: &Tried,
    ) -> Result<(), StoreError> {
        if self.view.is_pending(key) {
            return Ok(());
        }
        let sight = self.look_at(has, key).await;
        let version = sight.copy().and_then(version_of).unwrap_or_else(|| self.clock.next());
        let missing = self.names(tried.iter().map(|(place, _)| *place));
        self.write_down(vec![self.copy_line(key, version, &[has], missing)]).await
    }

    async fn create_everywhere(self, write: Write) -> Result<Stored, StoreError> {
        let homes = self.homes();
        let racer = Racer::start(&self.core, &write.key);
        let (answers, mut arriving) = mpsc::unbounded_channel();
        let mut outcomes = Outcomes::new();
        for (index, &place) in homes.iter().enumerate() {
            if self.members[place].is_full() {
                outcomes.push(Some(Err(self.full(place))));
                continue;
            }
            outcomes.push(None);
            let (parts, write, answers) = (self.clone(), write.clone(), answers.clone());
            // A straggler goes on after the answer.
            tokio::spawn(async move {
                let result = parts.put_at(place, &write, PutMode::Create).await;
                let _ = answers.send((index, result));
            });
        }
        drop(answers);
        let mut deadline: Option<Instant> = None;
        loop {
            let decision = decide(&outcomes);
            let copies = outcomes.iter().flatten().filter(|outcome| outcome.is_ok()).count();
            if matches!(decision, Decision::Won) && copies >= self.policy.min_copies {
                deadline.get_or_insert_with(|| Instant::now() + self.patience(&homes, &outcomes));
            }
            if outcomes.iter().all(Option::is_some) || matches!(decision, Decision::Lost(_)) {
                break;
            }
            let next = match deadline {
                None => arriving.recv().await,
                Some(at) => match tokio::time::timeout_at(at, arriving.recv()).await {
                    Ok(next) => next,
                    Err(_) => break,
                },
            };
            match next {
                Some((index, outcome)) => outcomes[index] = Some(outcome),
                // All have answered, or were ended with the runtime.
                None => break,
            }
        }
        match decide(&outcomes) {
            Decision::Won => self.won(write, &homes, outcomes).await,
            Decision::Lost(error) => {
                let outcomes = (outcomes, arriving);
                Err(self.lost(write, &homes, outcomes, error, racer).await)
            }
            Decision::None | Decision::Open => {
                let answered = homes.iter().copied().zip(outcomes);
                let tried: Tried = answered
                    .filter_map(|(place, outcome)| Some((place, outcome?.err()?)))
                    .collect();
                self.doubt(&write, &tried);
                let errors: Vec<_> = tried.into_iter().map(|(_, error)| error).collect();
                Err(self.failure(&errors))
            }
        }
    }

    /// How long those that have not answered are waited for: as long as they use to take.
    fn patience(&self, homes: &[usize], outcomes: &[Option<Outcome>]) -> Duration {
        let open = homes.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_none());
        let usual = open.filter_map(|(place, _)| self.members[*place].latency());
        usual.map(|(_, high)| high).max().unwrap_or(PATIENCE).max(PATIENCE)
    }

    async fn won(
        &self,
        write: Write,
        homes: &[usize],
        outcomes: Outcomes,
    ) -> Result<Stored, StoreError> {
        let (mut on, mut missing, mut first) = (Vec::new(), Vec::new(), None);
        for (&place, outcome) in homes.iter().zip(outcomes) {
            match outcome {
                Some(Ok(stored)) => {
                    on.push(place);
                    first.get_or_insert((place, stored));
                }
                Some(Err(error)) => {
                    self.counters.failed_over(error.kind());
                    missing.push(place);
                }
                None => missing.push(place),
            }
        }
        let copies = on.len();
        if !missing.is_empty() {
            let line = self.copy_line(&write.key, write.version(), &on, self.names(missing));
            let noted = self.write_down(vec![line]).await;
            noted.map_err(|error| self.not_written_down(error))?;
        }
        match first {
            Some((place, stored)) if copies >= self.policy.min_copies => {
                Ok(self.outward_stored(place, stored, Some(false)))
            }
            _ => Err(self.too_few(copies)),
        }
    }

    /// Takes back what was written before another one's create was found to have won.
    async fn lost(
        &self,
        write: Write,
        homes: &[usize],
        (outcomes, mut arriving): (Outcomes, mpsc::UnboundedReceiver<(usize, Outcome)>),
        error: StoreError,
        racer: Racer,
    ) -> StoreError {
        let mut doubtful = Vec::new();
        let mut is_open = false;
        for (&place, outcome) in homes.iter().zip(&outcomes) {
            match outcome {
                Some(Ok(_)) => doubtful.extend(self.take_back(place, &write).await),
                Some(Err(error)) if error.class() == Class::Unknown => doubtful.push(place),
                Some(Err(_)) => {}
                None => is_open = true,
            }
        }
        if !doubtful.is_empty()
            && let Err(error) = self.write_down(vec![self.kill_line(&write, doubtful)]).await
        {
            self.doubt(&write, &vec![(homes[0], error)]);
        }
        if is_open {
            let (parts, homes) = (self.clone(), homes.to_vec());
            tokio::spawn(async move {
                let _racer = racer;
                while let Some((index, outcome)) = arriving.recv().await {
                    let place = homes[index];
                    let kept = match outcome {
                        Ok(_) => parts.take_back(place, &write).await,
                        Err(error) => (error.class() == Class::Unknown).then_some(place),
                    };
                    if let Some(place) = kept {
                        let line = parts.kill_line(&write, vec![place]);
                        if let Err(error) = parts.write_down(vec![line]).await {
                            tracing::warn!(?error, "a write that lost may come back");
                        }
                    }
                }
            });
        }
        error
    }

    /// Deletes this write's copy at a member; gives the member back where that is not certain.
    async fn take_back(&self, place: usize, write: &Write) -> Option<usize> {
        let sight = self.look_at(place, &write.key).await;
        let Some(meta) = sight.copy() else { return sight.dark().map(|_| place) };
        if version_of(meta) != Some(write.version()) {
            return None;
        }
        let gone = self.delete_at(place, &write.key, Some(&meta.etag)).await;
        gone.is_err_and(|error| error.kind() != ErrorKind::PreconditionFailed).then_some(place)
    }

    fn kill_line(&self, write: &Write, places: Vec<usize>) -> Line {
        Line {
            what: What::Kill { versions: vec![write.version()] },
            key: write.key.clone(),
            version: write.version(),
            missing: self.names(places),
        }
    }

    pub(super) fn copy_line(
        &self,
        key: &ObjectKey,
        version: Version,
        on: &[usize],
        missing: Vec<String>,
    ) -> Line {
        let on = self.names(on.iter().copied());
        Line { what: What::Copy { on }, key: key.clone(), version, missing }
    }

    /// Has lines written down, before anybody is answered.
    pub(super) async fn write_down(&self, lines: Vec<Line>) -> Result<(), StoreError> {
        let is_planted = |line: &Line| match (&line.what, self.policy.planted) {
            (What::Copy { .. }, Some(Planted::DropRepairRecord)) => true,
            (What::Delete, Some(Planted::DropTombstone)) => true,
            (_, _) => false,
        };
        let lines: Vec<_> = lines.into_iter().filter(|line| !is_planted(line)).collect();
        if lines.is_empty() { Ok(()) } else { self.scribe.append(lines).await }
    }

    /// Remembers the attempts of a write that failed and may land late.
    pub(super) fn doubt(&self, write: &Write, tried: &Tried) {
        if tried.iter().any(|(_, error)| error.class() == Class::Unknown) {
            self.view.doubt(&write.key, write.version(), self.past(write.version()));
        }
    }

    pub(super) fn full(&self, place: usize) -> StoreError {
        let member = &self.members[place];
        let detail = format!("the backend '{}' has reached its quota", member.name);
        StoreError::new(ErrorKind::QuotaExceeded, member.backend.provider(), detail)
    }

    pub(super) fn not_written_down(&self, cause: StoreError) -> StoreError {
        let detail = "the proof may be stored, but not on every backend that should have it: send \
                      it again";
        StoreError::new(ErrorKind::Indeterminate, self.provider(), detail).with_source(cause)
    }

    pub(super) fn too_few(&self, copies: usize) -> StoreError {
        let wanted = self.policy.min_copies;
        let detail = format!(
            "the proof may be stored: {copies} of at least {wanted} copies are; send it again"
        );
        StoreError::new(ErrorKind::Indeterminate, self.provider(), detail)
    }
}

/// The first home in order that answered has the word; who is silent has none.
fn decide(outcomes: &[Option<Outcome>]) -> Decision {
    for outcome in outcomes {
        match outcome {
            None => return Decision::Open,
            Some(Ok(_)) => return Decision::Won,
            Some(Err(error)) if passes_on(error) => {}
            Some(Err(error)) => return Decision::Lost(error.clone()),
        }
    }
    Decision::None
}
