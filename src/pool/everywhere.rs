//! Writing a proof to all homes of a mirror at once.
//!
//! The first home that gives an answer decides between racing creates, those first that compare and
//! write in one step (`deciding`); who lost there takes back what it wrote elsewhere. Homes after the
//! deciding one that are slower than they use to be are not waited for: a line names them.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::core::passes_on;
use super::create::{Tried, Write};
use super::errands::Racer;
use super::member::is_silence;
use super::parts::Parts;
use super::state::version_of;
use crate::model::{Class, ErrorKind, PutMode, StoreError, Stored};

/// Shortest wait for a member that is slower than the others.
const PATIENCE: Duration = Duration::from_millis(20);

/// Age up to which a copy elsewhere may be of a create that races with this one.
const RACE_MS: u64 = 60_000;

/// What a member made of a write.
type Outcome = Result<Stored, StoreError>;

/// Of all homes in order; absent where one has not answered.
type Outcomes = Vec<Option<Outcome>>;

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
    pub(super) async fn create_everywhere(self, write: Write) -> Result<Stored, StoreError> {
        let homes = self.deciding();
        let racer = Racer::start(&self.core, &write.key);
        // Room for every answer: nobody waits to give one.
        let (answers, mut arriving) = mpsc::channel(homes.len().max(1));
        let mut outcomes = Outcomes::new();
        for (index, &place) in homes.iter().enumerate() {
            if self.members[place].is_full() {
                outcomes.push(Some(Err(self.full(place))));
                continue;
            }
            outcomes.push(None);
            let (parts, write, answers) = (self.clone(), write.clone(), answers.clone());
            tokio::spawn(async move {
                let result = parts.put_at(place, &write, PutMode::Create).await;
                let (key, is_there) = (write.key.clone(), result.is_ok());
                drop(write);
                // A straggler: the caller has its answer, and a line tells that this copy is missing.
                if answers.send((index, result)).await.is_err() && is_there {
                    parts.settle_soon(&key).await;
                }
            });
        }
        drop(answers);
        let mut deadline: Option<Instant> = None;
        loop {
            let decision = decide(&outcomes);
            let copies = outcomes.iter().flatten().filter(|outcome| outcome.is_ok()).count();
            let is_enough = match decision {
                Decision::Won => copies >= self.policy.min_copies,
                // What is still on its way has to be taken back.
                Decision::Lost(_) => true,
                Decision::Open | Decision::None => false,
            };
            if is_enough {
                deadline.get_or_insert_with(|| Instant::now() + self.patience(&homes, &outcomes));
            }
            if outcomes.iter().all(Option::is_some) {
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
        let decision = match decide(&outcomes) {
            Decision::Won => self.check_others(&write, &homes, &outcomes).await,
            other => other,
        };
        match decision {
            Decision::Won => {
                drop(arriving);
                if self.is_hidden(&write) {
                    // By a delete that began after this did and is under way: it is the earlier one.
                    let Write { key, payload, attributes } = write;
                    return self.rewrite(&key, payload, attributes, PutMode::Create).await;
                }
                self.won(write, &homes, outcomes).await
            }
            Decision::Lost(error) => {
                let silent = silent_homes(&homes, &outcomes);
                let has = taken_at(&homes, &outcomes);
                let was_free = outcomes.iter().flatten().any(Result::is_ok);
                let outcomes = (outcomes, arriving);
                self.lost(&write, &homes, outcomes, racer).await;
                if let (Some(has), false) = (has, silent.is_empty()) {
                    self.note_missing(&write.key, has, &silent).await?;
                }
                if was_free {
                    // That home has nothing now: a create of a process that died may have come to the
                    // other one only, and is about to be confirmed to who sends it again.
                    self.vouch(&write.key).await;
                }
                self.met(write, error).await
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
        let usual = open.filter_map(|(place, _)| self.members[*place].write_latency());
        usual.map(|(_, high)| high).max().unwrap_or(PATIENCE).max(PATIENCE)
    }

    /// The deciding member took the write, and another home has something. A create of another caller
    /// that will lose where this one won is nothing to stop for; anything older, or written down, is.
    async fn check_others(&self, write: &Write, homes: &[usize], outcomes: &Outcomes) -> Decision {
        let refused = homes.iter().zip(outcomes).find_map(|(&place, outcome)| match outcome {
            Some(Err(error)) if error.kind() == ErrorKind::AlreadyExists => {
                Some((place, error.clone()))
            }
            _ => None,
        });
        let Some((place, error)) = refused else { return Decision::Won };
        let _ = self.refresh().await;
        let sight = self.look_at(place, &write.key).await;
        let is_racer = sight.copy().is_none_or(|meta| {
            version_of(meta).is_some_and(|version| {
                write.version().millis.saturating_sub(version.millis) < RACE_MS
            })
        });
        if is_racer && !self.view.is_touched(&write.key) {
            Decision::Won
        } else {
            Decision::Lost(error)
        }
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
            let line = self.copy_line(&write.key, write.stamp(), &on, self.names(missing));
            let noted = self.write_down(vec![line]).await;
            noted.map_err(|error| self.not_written_down(&write, error))?;
        }
        match first {
            Some((place, stored)) if copies >= self.policy.min_copies => {
                Ok(self.outward_stored(place, stored, Some(false)))
            }
            _ => Err(self.too_few(copies)),
        }
    }

    /// Takes back what was written before another one's create was found to have won. What may yet land is
    /// written down before anybody is answered: this process may be gone by then.
    async fn lost(
        &self,
        write: &Write,
        homes: &[usize],
        (outcomes, mut arriving): (Outcomes, mpsc::Receiver<(usize, Outcome)>),
        racer: Racer,
    ) {
        let (mut doubtful, mut is_open) = (Vec::new(), false);
        for (&place, outcome) in homes.iter().zip(&outcomes) {
            match outcome {
                Some(Ok(_)) => doubtful.extend(self.take_back(place, write).await),
                Some(Err(error)) if error.class() == Class::Unknown => doubtful.push(place),
                Some(Err(_)) => {}
                None => {
                    is_open = true;
                    doubtful.push(place);
                }
            }
        }
        if !doubtful.is_empty()
            && let Err(error) =
                self.write_down(vec![self.kill_line(write, vec![write.version()], doubtful)]).await
        {
            self.doubt(write, &vec![(homes[0], error)]);
        }
        if is_open {
            let (parts, homes, write) = (self.clone(), homes.to_vec(), write.clone());
            tokio::spawn(async move {
                let _racer = racer;
                while let Some((index, outcome)) = arriving.recv().await {
                    if outcome.is_ok() {
                        let _ = parts.take_back(homes[index], &write).await;
                    }
                }
            });
        }
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

/// Homes that gave no answer, and what they said instead.
fn silent_homes(homes: &[usize], outcomes: &Outcomes) -> Tried {
    let answered = homes.iter().zip(outcomes);
    let silent = answered.filter_map(|(&place, outcome)| match outcome {
        Some(Err(error)) if is_silence(error) => Some((place, error.clone())),
        _ => None,
    });
    silent.collect()
}

/// A home that has something already.
fn taken_at(homes: &[usize], outcomes: &Outcomes) -> Option<usize> {
    let mut answered = homes.iter().zip(outcomes);
    let is_taken = |outcome: &Option<Outcome>| match outcome {
        Some(Err(error)) => error.kind() == ErrorKind::AlreadyExists,
        _ => false,
    };
    answered.find(|(_, outcome)| is_taken(outcome)).map(|(&place, _)| place)
}
